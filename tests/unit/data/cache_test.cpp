// The tokenized data on disk: found again when nothing changed, built again when anything did or when it is damaged.
#include <fstream>

#include "base/error.hpp"
#include "base/machine.hpp"
#include "data/fixture.hpp"
#include "data/token_store.hpp"

namespace fs = std::filesystem;

namespace lorica::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CacheTest : public DataTest {
 protected:
  CacheTest() {
    options_.cache_folder = folder_ / "cache";
    path_ = write("rows.jsonl",
                  "{\"prompt\": \"p\", \"completion\": \"abc\"}\n{\"prompt\": \"q\", \"completion\": \"d\"}\n");
  }
  fs::path cached(const std::string& name) { return fs::path(report_.cache_path) / name; }
  std::string path_;
};

TEST_F(CacheTest, SecondLoadReadsTheSameFromTheCache) {
  const auto first = load(path_);
  EXPECT_FALSE(report_.from_cache);
  const auto text = report_.text();
  const auto second = load(path_);
  EXPECT_TRUE(report_.from_cache);
  EXPECT_EQ(first.content_hash(), second.content_hash());
  ASSERT_EQ(second.size(), 2);
  EXPECT_EQ(marked(second.example(0)), "<s>p[abc</s>]");
  EXPECT_EQ(report_.supervised, 6);
  EXPECT_THAT(report_.text(), HasSubstr("read from"));
}

TEST_F(CacheTest, AnyChangeBuildsAgain) {
  load(path_);
  const auto differs = [&](const char* what) {
    load(path_);
    EXPECT_FALSE(report_.from_cache) << what;
    load(path_);
    EXPECT_TRUE(report_.from_cache) << what;
  };
  options_.context_length = 999;
  differs("context_length");
  options_.truncation = Truncation::drop;
  differs("truncation");
  options_.train_on = TrainOn::all;
  differs("loss");
  options_.append_eos = false;
  differs("EOS");
  options_.column_mapping = {{"completion", "prompt"}, {"prompt", "completion"}};
  differs("mapping");
  options_.ignore_columns = {"label"};
  differs("ignored columns");
  options_.skip_bad_rows = true;
  differs("bad rows");
  options_.format = DatasetFormat::prompt_completion;
  differs("format");
  encoder_ = ByteEncoder(false);
  differs("tokenizer");
  write("rows.jsonl", "{\"prompt\": \"p\", \"completion\": \"abd\"}\n{\"prompt\": \"q\", \"completion\": \"d\"}\n");
  differs("content");
}

TEST_F(CacheTest, DamageIsFoundAndMended) {
  const auto hash = load(path_).content_hash();
  const auto damage = [&](const std::string& name, const std::function<void(const fs::path&)>& action) {
    action(cached(name));
    const auto again = load(path_);
    EXPECT_FALSE(report_.from_cache) << name;
    EXPECT_THAT(report_.warnings, ElementsAre(HasSubstr("damaged"))) << name;
    EXPECT_EQ(again.content_hash(), hash);
    EXPECT_EQ(marked(again.example(1)), "<s>q[d</s>]");
    load(path_);
    EXPECT_TRUE(report_.from_cache) << name;
    EXPECT_THAT(report_.warnings, IsEmpty());
  };
  const auto flip = [](const fs::path& path) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(4);
    const auto byte = static_cast<char>(file.get() ^ 1);
    file.seekp(4);
    file.put(byte);
  };
  for (const auto* name : {"tokens.bin", "examples.bin", "spans.bin"}) {
    damage(name, flip);
    damage(name, [](const fs::path& path) { fs::resize_file(path, fs::file_size(path) - 4); });
    damage(name, [](const fs::path& path) { fs::remove(path); });
  }
  damage("meta.json", [](const fs::path& path) { fs::resize_file(path, fs::file_size(path) / 2); });
  damage("meta.json", [](const fs::path& path) { std::ofstream(path) << "{\"version\": 1}"; });
}

// The index is checked even where nobody verifies checksums: offsets are never trusted.
TEST_F(CacheTest, OffsetsOutsideTheDataAreRefused) {
  load(path_);
  const auto key = fs::path(report_.cache_path).filename().string();
  ExampleRecord record;
  std::fstream file(cached("examples.bin"), std::ios::in | std::ios::out | std::ios::binary);
  file.read(reinterpret_cast<char*>(&record), sizeof record);
  record.first_token = ~std::uint64_t{0} - 1;  // would wrap around
  file.seekp(0);
  file.write(reinterpret_cast<const char*>(&record), sizeof record);
  file.close();
  EXPECT_THAT(message<DataError>([&] { TokenStore(report_.cache_path, key, false); }), HasSubstr("outside the data"));
}

TEST_F(CacheTest, NothingIsLeftBehindByAFailure) {
  const auto bad = write("bad.jsonl", "{\"text\": \"a\"}\n{oops\n");
  EXPECT_THROW(load(bad), DataError);
  EXPECT_TRUE(fs::is_empty(options_.cache_folder));
}

TEST_F(CacheTest, UnwritableCacheFolderIsAClearError) {
  options_.cache_folder = fs::path(path_) / "cache";  // below a file
  EXPECT_THAT(message<FileError>([&] { load(path_); }), HasSubstr("rows.jsonl"));
}

// Peers' row 10 (packing 3 GB needed 900 GB): memory does not grow with the data. Here 32 MiB of text become 128 MiB of
// tokens and masks are spans, so that building and reading stay far below what holding them would need.
TEST_F(CacheTest, Row10MemoryDoesNotGrowWithTheData) {
  {
    std::ofstream file(folder_ / "big.jsonl");
    const std::string words(16000, 'w');
    for (int i = 0; i < 2048; ++i) file << "{\"prompt\": \"" << i << "\", \"completion\": \"" << words << "\"}\n";
  }
  options_.context_length = 20000;
  const auto before = peak_resident_bytes();
  const auto dataset = load((folder_ / "big.jsonl").string());
  const auto grown = peak_resident_bytes() - before;
  EXPECT_EQ(dataset.size(), 2048);
  EXPECT_GT(dataset.tokens() * 4, std::int64_t{125} << 20);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::uint64_t kLimit = std::uint64_t{400} << 20;  // freed memory stays in quarantine
#else
  constexpr std::uint64_t kLimit = std::uint64_t{112} << 20;
#endif
  EXPECT_LT(grown, kLimit);
}

}  // namespace
}  // namespace lorica::data
