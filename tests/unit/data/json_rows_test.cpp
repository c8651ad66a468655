#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/data_file.hpp"

namespace lorica::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

using Rows = std::vector<std::pair<std::string, std::int64_t>>;

Rows rows_of(std::string_view text, bool lines = false) {
  Rows rows;
  visit_json(text, "f.json", lines, [&](std::string_view row, std::int64_t line) {
    rows.emplace_back(row, line);
    return true;
  });
  return rows;
}

std::string fault_of(std::string_view text) {
  try {
    rows_of(text);
  } catch (const DataError& error) {
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << text;
  return "";
}

TEST(JsonRows, ArrayElementsKnowTheirLines) {
  EXPECT_THAT(rows_of("[\n {\"a\": \"]}\\\"\"},\n\n {\"b\": [1, {}]} ]\n"),
              ElementsAre(Pair("{\"a\": \"]}\\\"\"}", 2), Pair("{\"b\": [1, {}]}", 4)));
  EXPECT_THAT(rows_of("[]"), IsEmpty());
  EXPECT_THAT(rows_of(" \n "), IsEmpty());
}

TEST(JsonRows, DataListOfAnObject) {
  EXPECT_THAT(
      rows_of(
          "{\"version\": \"1 \\\"data\\\"\", \"meta\": {\"data\": [0]},\n\"data\": [{\"a\":1},\n{\"a\":2}], \"z\": 0}"),
      ElementsAre(Pair("{\"a\":1}", 2), Pair("{\"a\":2}", 3)));
}

TEST(JsonRows, LinesUnderTheNameJson) {
  EXPECT_THAT(rows_of("{\"a\":1}\n\n{\"a\":2}\n"), ElementsAre(Pair("{\"a\":1}", 1), Pair("{\"a\":2}", 3)));
  EXPECT_THAT(rows_of("{\"a\":1}\n"), ElementsAre(Pair("{\"a\":1}", 1)));
}

TEST(JsonRows, LinesKeepGoodAndBadRowsApart) {
  EXPECT_THAT(rows_of("\xEF\xBB\xBF{\"a\":1}\r\n \n{bad\n{\"a\":2}", true),
              ElementsAre(Pair("{\"a\":1}\r", 1), Pair("{bad", 3), Pair("{\"a\":2}", 4)));
}

TEST(JsonRows, BrokenStructureNamesTheLine) {
  EXPECT_THAT(fault_of("[{\"a\": 1},\n{\"a\": 2"), HasSubstr("f.json:2: malformed JSON"));
  EXPECT_THAT(fault_of("[{\"a\": 1},\n{\"a\": \"x"), HasSubstr("f.json:2: malformed JSON"));
  EXPECT_THAT(fault_of("[{\"a\": 1}\n{\"a\": 2}]"), HasSubstr("f.json:2: malformed JSON: ']' expected"));
  EXPECT_THAT(fault_of("[{\"a\": 1},,{}]"), HasSubstr("f.json:1: malformed JSON"));
  EXPECT_THAT(fault_of("[{\"a\": 1},"), HasSubstr("f.json:1"));
  EXPECT_THAT(fault_of("\n\nhello"), HasSubstr("f.json:3"));
}

TEST(JsonRows, VisitorCanStop) {
  int seen = 0;
  visit_json("[1, 2, 3]", "f.json", false, [&](std::string_view, std::int64_t) { return ++seen < 2; });
  EXPECT_EQ(seen, 2);
}

// Untrusted input: any damage gives rows or a DataError, never a read beyond the text (run under the sanitizers).
TEST(JsonRows, RandomDamageIsHarmless) {
  const std::string sound = "{\"data\": [{\"a\": \"x\\\\\\\"y\"}, [1, [2]], \"s\", 12, null], \"k\": {\"l\": []}}";
  for (std::uint64_t trial = 0; trial < 4000; ++trial) {
    std::string text = sound.substr(0, random_below(trial, 0, sound.size() + 1));
    for (std::uint64_t i = 0; i < 3 && !text.empty(); ++i) {
      text[random_below(trial, 2 * i + 1, text.size())] = "{}[]\",:\\ax1 \n"[random_below(trial, 2 * i + 2, 13)];
    }
    const std::vector<char> exact(text.begin(), text.end());
    try {
      visit_json({exact.data(), exact.size()}, "f.json", trial % 2 == 0, [&](std::string_view row, std::int64_t line) {
        EXPECT_FALSE(row.empty());
        EXPECT_GE(line, 1);
        return true;
      });
    } catch (const DataError&) {
    }
  }
}

}  // namespace
}  // namespace lorica::data
