#include "data/column_mapping.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"

namespace lorica::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ColumnMapping, Pairs) {
  EXPECT_THAT(parse_column_mapping({"prompt=question", " completion = a.b "}),
              ElementsAre(MappedColumn{"prompt", "question"}, MappedColumn{"completion", "a.b"}));
  EXPECT_THAT(parse_column_mapping({"conversations=x"}), ElementsAre(MappedColumn{"messages", "x"}));
}

TEST(ColumnMapping, FaultsSayWhatToWrite) {
  const auto fault = [](const std::vector<std::string>& pairs) -> std::string {
    try {
      parse_column_mapping(pairs);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(fault({"prompt"}), HasSubstr("not a pair"));
  EXPECT_THAT(fault({"reply=completion"}), HasSubstr("did you mean completion=reply?"));
  EXPECT_THAT(fault({"promt=x"}), HasSubstr("did you mean prompt?"));
  EXPECT_THAT(fault({"text=a", "text=b"}), HasSubstr("both 'a' and 'b'"));
}

TEST(ColumnMapping, ColumnsMayChangePlaces) {
  nlohmann::json row{{"prompt", "a"}, {"completion", "b"}};
  apply_mapping(row, {{"prompt", "completion"}, {"completion", "prompt"}});
  EXPECT_EQ(row, (nlohmann::json{{"prompt", "b"}, {"completion", "a"}}));
}

}  // namespace
}  // namespace lorica::data
