// Parquet and Arrow files: read batch by batch, or refused with advice where Arrow is not built in.
#include "base/error.hpp"
#include "data/data_file.hpp"
#include "data/fixture.hpp"

#ifdef LORICA_HAS_ARROW
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/writer.h>
#include <parquet/arrow/writer.h>
#endif

namespace lorica::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;

#ifdef LORICA_HAS_ARROW

class ArrowTest : public DataTest {
 protected:
  static std::shared_ptr<arrow::Table> table(int rows, const std::string& column = "completion") {
    arrow::StringBuilder prompts, completions;
    arrow::Int64Builder unused;
    for (int i = 0; i < rows; ++i) {
      EXPECT_TRUE(prompts.Append(fmt::format("p{}", i)).ok());
      EXPECT_TRUE((i == 1 ? completions.AppendNull() : completions.Append("c")).ok());
      EXPECT_TRUE(unused.Append(i).ok());
    }
    const auto schema = arrow::schema({arrow::field("id", arrow::int64()), arrow::field("prompt", arrow::utf8()),
                                       arrow::field(column, arrow::utf8())});
    return arrow::Table::Make(
        schema, {unused.Finish().ValueOrDie(), prompts.Finish().ValueOrDie(), completions.Finish().ValueOrDie()});
  }
  std::string write_parquet(const arrow::Table& content) {
    const auto path = (folder_ / "rows.parquet").string();
    const auto file = arrow::io::FileOutputStream::Open(path).ValueOrDie();
    EXPECT_TRUE(parquet::arrow::WriteTable(content, arrow::default_memory_pool(), file, 700).ok());
    EXPECT_TRUE(file->Close().ok());
    return path;
  }
};

TEST_F(ArrowTest, ParquetRowsOfAllGroups) {
  options_.skip_bad_rows = true;
  const auto dataset = load(write_parquet(*table(2500)));
  ASSERT_EQ(dataset.size(), 2499);
  EXPECT_EQ(marked(dataset.example(2498)), "<s>p2499[c</s>]");
  EXPECT_THAT(dataset.origin(2498), HasSubstr("rows.parquet: row 2500"));
  EXPECT_THAT(report_.bad.examples.at(0), HasSubstr("row 2: the column 'completion' is null"));
}

TEST_F(ArrowTest, ParquetFaultsAreDataErrors) {
  const auto path = write_parquet(*table(1500));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 100);
  EXPECT_THAT(message<DataError>([&] { load(path); }),
              AllOf(HasSubstr("rows.parquet"), HasSubstr("damaged or cut short")));
  EXPECT_THAT(message<DataError>([&] { load(write("empty.parquet", "")); }), HasSubstr("empty.parquet"));
  const auto odd =
      write_parquet(*arrow::Table::Make(arrow::schema({arrow::field("id", arrow::int64())}), {table(3)->column(0)}));
  EXPECT_THAT(message<DataError>([&] { load(odd); }), HasSubstr("can't tell what to train on from the columns id"));
}

// Columns that nothing reads aren't decoded, but counted; a mapping reads them.
TEST_F(ArrowTest, ColumnsThatNothingReads) {
  options_.skip_bad_rows = true;
  const auto path = write_parquet(*table(5, "reply"));
  options_.column_mapping = {{"completion", "reply"}};
  EXPECT_EQ(marked(load(path).example(3)), "<s>p4[c</s>]");
  const auto entries = report_.account().entries();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].part, "id");
  EXPECT_EQ(entries[0].count, 4);
}

TEST_F(ArrowTest, BothArrowForms) {
  options_.skip_bad_rows = true;
  for (const bool stream : {true, false}) {
    const auto path = (folder_ / "rows.arrow").string();
    const auto rows = table(5);
    const auto file = arrow::io::FileOutputStream::Open(path).ValueOrDie();
    const auto writer =
        (stream ? arrow::ipc::MakeStreamWriter(file, rows->schema()) : arrow::ipc::MakeFileWriter(file, rows->schema()))
            .ValueOrDie();
    ASSERT_TRUE(writer->WriteTable(*rows).ok() && writer->Close().ok() && file->Close().ok());
    const auto dataset = load(path);
    ASSERT_EQ(dataset.size(), 4) << stream;
    EXPECT_EQ(marked(dataset.example(3)), "<s>p4[c</s>]");
  }
  EXPECT_THROW(load(write("bad.arrow", "ARROW1 and then nothing")), DataError);
}

#else

TEST_F(DataTest, WithoutArrowTheErrorSaysWhatToInstall) {
  EXPECT_THAT(message<DataError>([&] { load(write("rows.parquet", "x")); }), HasSubstr("Install pyarrow"));
}

#endif

}  // namespace
}  // namespace lorica::data
