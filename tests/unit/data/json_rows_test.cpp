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
  visit_json(text, "f.json", lines, [&](const JsonRow& row) {
    rows.emplace_back(row.text, row.line);
    return true;
  });
  return rows;
}

std::string fault_of(std::string_view text, bool lines = false) {
  try {
    rows_of(text, lines);
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
              ElementsAre(Pair("{\"a\":1}", 1), Pair("{bad", 3), Pair("{\"a\":2}", 4)));
}

TEST(JsonRows, BrokenStructureNamesLineAndColumn) {
  EXPECT_THAT(fault_of("[{\"a\": 1},\n {\"a\": 2"), HasSubstr("f.json:2:2: malformed JSON: what starts here"));
  EXPECT_THAT(fault_of("[{\"a\": 1},\n{\"a\": \"x"), HasSubstr("f.json:2:1: malformed JSON"));
  EXPECT_THAT(fault_of("[{\"a\": 1}\n{\"a\": 2}]"), HasSubstr("f.json:2:1: malformed JSON: ']' expected"));
  EXPECT_THAT(fault_of("[{\"ä\": 1},,{}]"), HasSubstr("f.json:1:11: malformed JSON: a row expected"));
  EXPECT_THAT(fault_of("[{\"a\": 1},"), HasSubstr("f.json:1:11: malformed JSON: the file ends"));
  EXPECT_THAT(fault_of("[{\"a\": 1},]"), HasSubstr("f.json:1:11: malformed JSON: a row expected, not ']'"));
  EXPECT_THAT(fault_of("[\n// a comment\n{}]"), HasSubstr("f.json:2:1: malformed JSON: a row expected, not '/'"));
  EXPECT_THAT(fault_of("\n\nhello"), HasSubstr("f.json:3:1"));
  EXPECT_THAT(fault_of("[{\"a\": 1}]\n}}} x"), HasSubstr("f.json:2:1: malformed JSON: another row or the end"));
  EXPECT_THAT(fault_of("\xFF\xFE[\0"), HasSubstr("UTF-16LE"));
}

TEST(JsonRows, ValuesOneAfterTheOther) {
  EXPECT_THAT(rows_of("[{\"a\":1}]\n[{\"a\":2},\n{\"a\":3}]"),
              ElementsAre(Pair("{\"a\":1}", 1), Pair("{\"a\":2}", 2), Pair("{\"a\":3}", 3)));
  for (const bool lines : {false, true}) {
    EXPECT_THAT(rows_of("{\n \"a\": 1\n}\n{\n \"a\": 2\n}\n", lines),
                ElementsAre(Pair("{\n \"a\": 1\n}", 1), Pair("{\n \"a\": 2\n}", 4)));
    EXPECT_THAT(rows_of("{\"a\":\"}{\"}{\"a\":2}\n{\"a\":3}", lines),
                ElementsAre(Pair("{\"a\":\"}{\"}", 1), Pair("{\"a\":2}", 1), Pair("{\"a\":3}", 2)));
    EXPECT_THAT(rows_of("[{\"a\":1}, {\"a\":2}]", lines), ElementsAre(Pair("{\"a\":1}", 1), Pair("{\"a\":2}", 1)));
  }
}

// What stands behind a row belongs to it, so that the parser refuses it.
TEST(JsonRows, LinesKeepWhatFollowsARow) {
  EXPECT_THAT(rows_of("{\"a\":1},\n{\"a\":2} x\n", true), ElementsAre(Pair("{\"a\":1},", 1), Pair("{\"a\":2} x", 2)));
  EXPECT_THAT(rows_of("{\"a\":1}{\"a\":2}{x", true),
              ElementsAre(Pair("{\"a\":1}", 1), Pair("{\"a\":2}", 1), Pair("{x", 1)));
}

TEST(JsonRows, RowsKnowColumnsAndNeighbours) {
  std::vector<std::tuple<std::int64_t, std::int64_t, bool>> places;
  visit_json("[{\"ä\":1}, {},\n  {}]", "f.json", false, [&](const JsonRow& row) {
    places.emplace_back(row.line, row.column, row.shares_line);
    return true;
  });
  EXPECT_THAT(places, ElementsAre(std::tuple(1, 2, true), std::tuple(1, 11, true), std::tuple(2, 3, false)));
}

TEST(JsonRows, OtherLayoutsAreRefusedWithARemedy) {
  for (const auto* text : {"{\"prompt\": {\"0\": \"a\"}, \"completion\": {\"0\": \"b\"}}", "{\"text\": [\"a\", \"b\"]}",
                           "{\"1\": {\"text\": \"a\"}, \"2\": {\"text\": \"b\"}}"}) {
    EXPECT_THAT(fault_of(text), HasSubstr("orient=\"records\"")) << text;
  }
  EXPECT_THAT(fault_of("{\"train\": [{\"text\": \"a\"}], \"test\": []}"), HasSubstr("several splits"));
  EXPECT_THAT(fault_of("{\"data\": [{\"a\": 1}], \"more\": [{\"a\": 2}]}"), HasSubstr("f.json:1:30: malformed"));
  EXPECT_THAT(rows_of("{\"messages\": [{\"role\": \"user\"}]}"), testing::SizeIs(1));
}

TEST(JsonRows, KeysBesideTheListAreNamed) {
  std::vector<std::string> unused;
  visit_json(
      "{\"version\": 1, \"data\": [{}], \"more\": [2]}", "f.json", false, [](const JsonRow&) { return true; }, &unused);
  EXPECT_THAT(unused, ElementsAre("version", "more"));
}

TEST(JsonRows, VisitorCanStop) {
  int seen = 0;
  visit_json("[1, 2, 3]", "f.json", false, [&](const JsonRow&) { return ++seen < 2; });
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
      visit_json({exact.data(), exact.size()}, "f.json", trial % 2 == 0, [&](const JsonRow& row) {
        EXPECT_FALSE(row.text.empty());
        EXPECT_GE(row.line, 1);
        EXPECT_GE(row.column, 1);
        return true;
      });
    } catch (const DataError&) {
    }
  }
}

}  // namespace
}  // namespace lorica::data
