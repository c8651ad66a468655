#include "base/files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/temporary_folder.hpp"

namespace lorica {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::put_file;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), {}));
}

TEST(Files, WriteThenReadAnyBytes) {
  TemporaryFolder folder;
  const std::string content("a\0b\r\n\xff", 6);
  write_file(folder / "x", content);
  EXPECT_EQ(read_file(folder / "x"), content);
  write_file(folder / "x", "short");
  EXPECT_EQ(read_file(folder / "x"), "short");
  write_file(folder / "x", "");
  EXPECT_EQ(read_file(folder / "x"), "");
  EXPECT_EQ(entries(folder.path()), 1U) << "no temporary file stays";
}

TEST(Files, ErrorsNameThePathAndTheReason) {
  TemporaryFolder folder;
  EXPECT_THAT(message_of<FileError>([&] { read_file(folder / "absent"); }),
              AllOf(HasSubstr((folder / "absent").string()), HasSubstr("No such file")));
  EXPECT_THAT(message_of<FileError>([&] { read_file(folder.path()); }), HasSubstr("is a folder"));
  EXPECT_THROW(write_file(folder / "no" / "x", "y"), FileError);
  EXPECT_THROW(MappedFile(folder / "absent"), FileError);
  EXPECT_THROW(MappedFile{folder.path()}, FileError);
}

TEST(Files, AFailedWriteLeavesTheOldFileAndNothingElse) {
  TemporaryFolder folder;
  put_file(folder / "target" / "inside", "old");  // a folder can't be replaced by a file
  EXPECT_THROW(write_file(folder / "target", "new"), FileError);
  EXPECT_EQ(read_file(folder / "target" / "inside"), "old");
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(Files, APendingFileAppearsOnlyAtCommit) {
  TemporaryFolder folder;
  put_file(folder / "x", "old");
  {
    PendingFile pending(folder / "x");
    put_file(pending.path(), "never");
  }
  EXPECT_EQ(read_file(folder / "x"), "old");
  EXPECT_EQ(entries(folder.path()), 1U);
  PendingFile pending(folder / "x");
  put_file(pending.path(), "new");
  EXPECT_EQ(read_file(folder / "x"), "old");
  pending.commit();
  EXPECT_EQ(read_file(folder / "x"), "new");
}

TEST(Files, APendingFolderIsCompleteOrAbsentAndReplaces) {
  TemporaryFolder folder;
  {
    PendingFolder pending(folder / "f");
    put_file(pending.path() / "a", "1");
  }
  EXPECT_EQ(entries(folder.path()), 0U);
  for (const char* content : {"1", "2"}) {
    PendingFolder pending(folder / "f");
    put_file(pending.path() / "sub" / content, content);
    pending.commit();
    EXPECT_EQ(read_file(folder / "f" / "sub" / content), content);
  }
  EXPECT_FALSE(fs::exists(folder / "f" / "sub" / "1")) << "the old folder is gone";
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(Files, APendingFolderReplacesWhatAKilledProcessLeft) {
  TemporaryFolder folder;
  const auto left = [&](const std::string& name) { return fs::exists(folder / name); };
  put_file(folder / ".f.12.0.tmp/half", "");
  put_file(folder / ".f.x.0.tmp/own", "");
  put_file(folder / ".g.12.0.tmp/other", "");
  PendingFolder alive(folder / "f");
  EXPECT_FALSE(left(".f.12.0.tmp"));
  EXPECT_TRUE(left(".f.x.0.tmp")) << "not a name of ours";
  EXPECT_TRUE(left(".g.12.0.tmp")) << "of another target";
  const PendingFolder second(folder / "f");
  EXPECT_TRUE(fs::exists(alive.path())) << "its writer lives";
  alive.commit();
  EXPECT_TRUE(left("f"));
}

TEST(Files, APendingFolderMayBeNamedWithASlash) {
  TemporaryFolder folder;
  PendingFolder pending((folder / "f").string() + "/");
  put_file(pending.path() / "a", "1");
  pending.commit();
  EXPECT_EQ(entries(folder.path()), 1U);
  EXPECT_EQ(read_file(folder / "f/a"), "1");
}

TEST(Files, CreateFolderRefusesAFileOfThatName) {
  TemporaryFolder folder;
  create_folder(folder / "a" / "b");
  create_folder(folder / "a" / "b");
  EXPECT_TRUE(fs::is_directory(folder / "a" / "b"));
  put_file(folder / "file", "");
  EXPECT_THROW(create_folder(folder / "file"), FileError);
  EXPECT_THROW(create_folder(folder / "file" / "below"), FileError);
}

TEST(Files, AReadOnlyFolderIsRefused) {
  if (::geteuid() == 0) GTEST_SKIP() << "root writes anywhere";
  TemporaryFolder folder;
  create_folder(folder / "a");
  ::chmod((folder / "a").c_str(), 0500);
  EXPECT_THAT(message_of<FileError>([&] { create_folder(folder / "a"); }), HasSubstr("permissions"));
  ::chmod((folder / "a").c_str(), 0700);
}

TEST(Files, FreeSpaceOfAFolderThatDoesNotExistYet) {
  TemporaryFolder folder;
  EXPECT_GT(free_disk_bytes(folder / "not" / "yet"), 0U);
}

TEST(Files, AMappedFileSurvivesMovesAndReleases) {
  TemporaryFolder folder;
  const std::string content(100'000, 'x');
  put_file(folder / "x", content);
  MappedFile first(folder / "x");
  MappedFile second(std::move(first));
  EXPECT_EQ(first.size(), 0U);
  EXPECT_EQ(second.text(), content);
  second.release(0, content.size());
  EXPECT_EQ(second.text(), content) << "released pages are read again";
  put_file(folder / "empty", "");
  MappedFile empty(folder / "empty");
  EXPECT_EQ(empty.text(), "");
  empty = std::move(second);
  EXPECT_EQ(empty.size(), content.size());
}

}  // namespace
}  // namespace lorica
