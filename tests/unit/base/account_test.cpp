// The account of what was left aside: counted, grouped for people, kept as JSON.
#include "base/account.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace lorica {
namespace {

using Kind = Account::Kind;

TEST(Account, CountsThePartsOfASourceAndGroupsThemByReason) {
  Account account;
  EXPECT_TRUE(account.empty());
  account.leave_aside(Kind::row, "a.jsonl", "id", "nothing uses it");
  account.leave_aside(Kind::row, "a.jsonl", "id", "nothing uses it", 2);
  account.leave_aside(Kind::row, "a.jsonl", "source", "nothing uses it");
  account.leave_aside(Kind::file, "data", "test.jsonl", "it is the test split");
  EXPECT_THAT(account.lines(),
              testing::ElementsAre("left aside in a.jsonl: columns id (3 rows), source (1 row): nothing uses it",
                                   "left aside in data: file test.jsonl: it is the test split"));
}

TEST(Account, NamesEightPartsAndCountsTheRest) {
  Account account;
  for (char letter = 'a'; letter < 'k'; ++letter) {
    account.leave_aside(Kind::tensor, "m.safetensors", std::string(1, letter), "no layer uses it");
  }
  EXPECT_THAT(account.lines(), testing::ElementsAre("left aside in m.safetensors: tensors a, b, c, d, e, f, g, h "
                                                    "and 2 more: no layer uses it"));
}

TEST(Account, AddsAnotherAndSurvivesJson) {
  Account account, other;
  account.leave_aside(Kind::option, "", "lora_rank", "the adapter has its own");
  other.leave_aside(Kind::option, "", "lora_rank", "the adapter has its own");
  other.leave_aside(Kind::metadata, "config.json", "foo", "unknown");
  account.add(other);
  ASSERT_EQ(account.entries().size(), 2u);
  EXPECT_EQ(account.entries()[0], (Account::Entry{Kind::metadata, "config.json", "foo", "unknown", 1}));
  EXPECT_EQ(account.entries()[1].count, 2);
  EXPECT_EQ(Account::from_json(account.to_json()), account);
  EXPECT_THROW(Account::from_json(nlohmann::ordered_json::parse(R"([{"kind": "rows"}])")), Error);
  EXPECT_THROW(Account::from_json(nlohmann::ordered_json::parse("[1]")), Error);
}

}  // namespace
}  // namespace lorica
