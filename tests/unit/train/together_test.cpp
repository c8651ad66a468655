// A folder that several processes fill: complete or absent, and if one fails, all name that one.
#include "train/together.hpp"

#include <gmock/gmock.h>

#include <thread>

#include "base/error.hpp"
#include "base/temporary_folder.hpp"
#include "parallel/processes.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

using namespace std::chrono_literals;
using parallel::Place;
using test::put_file;
using test::TemporaryFolder;

config::Config quick() {
  config::Config config;
  config.peer_timeout = 5;
  return config;
}

/// fill_together in each of two processes, as in a run.
std::vector<parallel::Exit> fill_by_two(const fs::path& target,
                                        const std::function<void(int rank, const fs::path& folder)>& fill) {
  return parallel::run_processes(2, [&](const Place& place) {
    parallel::World world(quick(), place);
    world.run([&] {
      fill_together(&world, target, [&](const fs::path& folder) { fill(place.rank, folder); });
      world.part();
      return 0;
    });
    return std::string("done");
  });
}

void wait_until_gone(const fs::path& folder) {
  for (int i = 0; i < 2000 && fs::exists(folder); ++i) std::this_thread::sleep_for(5ms);
}

TEST(FillTogether, AllFillOneFolder) {
  TemporaryFolder run;
  const auto exits = fill_by_two(
      run / "final", [](int rank, const fs::path& folder) { put_file(folder / std::to_string(rank), "content"); });
  for (const auto& exit : exits) EXPECT_EQ(exit.output, "done");
  EXPECT_TRUE(fs::exists(run / "final/0") && fs::exists(run / "final/1"));
}

// Rank 1 comes to write when rank 0, whose disk is full, has removed the folder.
TEST(FillTogether, AFullDiskIsNamedRatherThanTheFolderThatIsGone) {
  TemporaryFolder run;
  const auto exits = fill_by_two(run / "final", [](int rank, const fs::path& folder) {
    if (rank == 0) raise<FileError>("the disk is full");
    wait_until_gone(folder);
    raise<FileError>("{}: no such file", folder.string());
  });
  EXPECT_EQ(exits[0].output, "own 2\nthe disk is full");
  EXPECT_EQ(exits[1].output, "peer 1\nrank 0: the disk is full");
  EXPECT_TRUE(fs::is_empty(run.path()));
}

// Rank 0 is half way through removing it: the files are gone, the folder is not.
TEST(FillTogether, AFullDiskIsNamedRatherThanAFileThatIsGone) {
  TemporaryFolder run;
  const auto exits = fill_by_two(run / "final", [&](int rank, const fs::path& folder) {
    if (rank == 0) raise<FileError>("the disk is full");
    wait_until_gone(folder);
    fs::create_directory(folder);
    raise<FileError>("{}: no such file", (folder / "file").string());
  });
  EXPECT_EQ(exits[0].output, "own 2\nthe disk is full");
  EXPECT_EQ(exits[1].output, "peer 1\nrank 0: the disk is full");
}

TEST(FillTogether, AFailureOfAnotherThanRank0IsItsOwn) {
  TemporaryFolder run;
  const auto exits = fill_by_two(run / "final", [](int rank, const fs::path&) {
    if (rank == 1) raise<FileError>("the disk is full");
  });
  EXPECT_EQ(exits[0].output, "peer 1\nrank 1: the disk is full");
  EXPECT_EQ(exits[1].output, "own 2\nthe disk is full");
  EXPECT_TRUE(fs::is_empty(run.path()));
}

}  // namespace
}  // namespace lorica::train
