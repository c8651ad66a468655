#include "data/templates.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"

namespace lorica::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Templates, AlpacaWithInput) {
  EXPECT_EQ(
      render_prompt(prompt_template("alpaca"), {{"instruction", "Add."}, {"input", "1 2"}}),
      "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
      "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### "
      "Response:");
}

TEST(Templates, AlpacaWithEmptyOrMissingInput) {
  const std::string expected =
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
      "### Instruction:\nAdd.\n\n### Response:";
  EXPECT_EQ(render_prompt(prompt_template("alpaca"), {{"instruction", "Add."}, {"input", ""}}), expected);
  EXPECT_EQ(render_question("alpaca", "Add."), expected);
}

TEST(Templates, SqlAndOrcaMath) {
  EXPECT_EQ(render_prompt(prompt_template("sql"), {{"context", "C"}, {"question", "Q"}}),
            "###Context:\nC\n###Question:\nQ\n###Answer:\n");
  EXPECT_EQ(render_question("orca_math", "Q"), "###Question:\nQ\n###Answer:\n");
}

TEST(Templates, BracesInAColumnAreText) {
  EXPECT_EQ(render_question("none", "a {prompt} b"), "a {prompt} b");
}

TEST(Templates, RequiredFieldsLeaveOutTheOptionalOne) {
  EXPECT_THAT(required_fields(prompt_template("alpaca")), ElementsAre("instruction"));
  EXPECT_THAT(required_fields(prompt_template("sql")), ElementsAre("context", "question"));
}

TEST(Templates, UnknownNameSuggestsTheNearest) {
  try {
    prompt_template("alpacca");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean alpaca?"));
  }
}

TEST(Templates, EveryTemplateRendersAQuestion) {
  for (const auto& entry : prompt_templates()) {
    EXPECT_THAT(render_question(entry.name, "the question"), HasSubstr("the question")) << entry.name;
  }
}

TEST(Templates, GuanacoIsCutAtTheFirstMarker) {
  const auto segments = human_assistant_segments("### Human: hi### Assistant: yo### Human: more### Assistant: end");
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_EQ(segments[0].text, "### Human: hi");
  EXPECT_FALSE(segments[0].supervised);
  EXPECT_EQ(segments[1].text, "### Assistant: yo### Human: more### Assistant: end");
  EXPECT_TRUE(segments[1].supervised && segments[1].ends_turn);
}

// Training and generation must show the model the same text.
TEST(Templates, ChatPromptIsThePrefixOfItsTraining) {
  const std::vector<Turn> turns = {{.role = "system", .content = "Be brief."},
                                   {.role = "user", .content = "Hi"},
                                   {.role = "assistant", .content = "Yo"},
                                   {.role = "user", .content = "Bye"}};
  const auto prompt = render_chat(turns, "</s>");
  EXPECT_EQ(prompt,
            "### System:\nBe brief.\n\n### User:\nHi\n\n### Assistant:\nYo</s>### User:\nBye\n\n### Assistant:\n");
  auto whole = turns;
  whole.push_back({.role = "assistant", .content = "So long"});
  std::string trained;
  for (const auto& segment : chat_segments(whole)) trained += segment.text + (segment.ends_turn ? "</s>" : "");
  EXPECT_EQ(trained, prompt + "So long</s>");
  EXPECT_EQ(render_question("chat", "Hi"), render_chat({{.role = "user", .content = "Hi"}}, "</s>"));
}

}  // namespace
}  // namespace lorica::data
