#include "jinja/template.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>

namespace lorica::jinja {
namespace {

using Json = nlohmann::ordered_json;

std::string render(std::string_view text, const Json& context = Json::object()) {
  return Template::parse(text, "chat.jinja").render(context).text;
}

/// The error that `text` ends with.
TemplateError error_of(std::string_view text, const Json& context = Json::object(), const Settings& settings = {}) {
  try {
    const Rendered rendered = Template::parse(text, "chat.jinja").render(context, settings);
    throw std::runtime_error("rendered: " + rendered.text.substr(0, 200));
  } catch (const TemplateError& error) {
    return error;
  }
}

TEST(Template, RendersAConversation) {
  const Json context = {
      {"messages", {{{"role", "user"}, {"content", "Grüße"}}, {{"role", "assistant"}, {"content", " Hi "}}}},
      {"add_generation_prompt", true}};
  EXPECT_EQ(render("{% for m in messages %}\n<|{{ m.role }}|>{{ m['content'] | trim }}\n{% endfor %}\n"
                   "{% if add_generation_prompt %}<|assistant|>{% endif %}\n",
                   context),
            "<|user|>Grüße\n<|assistant|>Hi\n<|assistant|>");
}

TEST(Template, TrimsAndStripsAroundBlocks) {
  EXPECT_EQ(render("a\n  {% if true %}\n  b\n  {% endif %}\nc\n"), "a\n  b\nc");
  EXPECT_EQ(render("a \n {%- if true -%}\n b \n{%- endif +%}\nc"), "ab\nc");
  EXPECT_EQ(render("a\n  {{ 1 }}\n  {#- x #}\nb\r\n"), "a\n  1b");
}

TEST(Template, ValuesPrintAsInPython) {
  const Json context = {{"v", Json::parse(R"([1, 2.0, 1e16, null, true, "it's", {"b": [], "a": "\n"}])")}};
  EXPECT_EQ(render("{{ v }}", context), R"([1, 2.0, 1e+16, None, True, "it's", {'b': [], 'a': '\n'}])");
  EXPECT_EQ(render("{{ v | tojson }}", context), R"([1, 2.0, 1e+16, null, true, "it's", {"b": [], "a": "\n"}])");
}

TEST(Template, ReportsWhatGenerationBlocksProduced) {
  const auto parsed =
      Template::parse("ü{% generation %}a{{ x }}{% endgeneration %}b{% generation %}{% endgeneration %}", "t");
  EXPECT_TRUE(parsed.has_generation_blocks());
  const Rendered rendered = parsed.render({{"x", "é"}});
  ASSERT_EQ(rendered.text, "üaéb");
  ASSERT_EQ(rendered.generation_spans.size(), 2U);
  EXPECT_EQ(rendered.text.substr(rendered.generation_spans[0].begin,
                                 rendered.generation_spans[0].end - rendered.generation_spans[0].begin),
            "aé");
  EXPECT_EQ(rendered.generation_spans[1].begin, rendered.generation_spans[1].end);
  EXPECT_TRUE(rendered.all_generation_known);
}

TEST(Template, SaysWhereAGenerationBlocksPlaceIsUnknown) {
  const auto parsed =
      Template::parse("{% macro m() %}{% generation %}a{% endgeneration %}{% endmacro %}{{ m() | upper }}", "t");
  const Rendered rendered = parsed.render(Json::object());
  EXPECT_EQ(rendered.text, "A");
  EXPECT_TRUE(rendered.generation_spans.empty());
  EXPECT_FALSE(rendered.all_generation_known);
}

TEST(Template, ErrorsNameTemplateLineAndMessage) {
  EXPECT_STREQ(error_of("a\n\n{{ x.y.z }}").what(), "chat.jinja: line 3: 'x' is undefined");
  EXPECT_STREQ(error_of("a\n{% if %}").what(), "chat.jinja: line 2: unexpected end of the tag, expected an expression");
  EXPECT_EQ(error_of("{{ 1 + 'a' }}").fault(), Fault::value);
  EXPECT_EQ(error_of("{% for a in b %}").fault(), Fault::syntax);
  EXPECT_EQ(error_of("\xFF").fault(), Fault::syntax);
}

TEST(Template, ATemplatesOwnRefusalIsItsMessage) {
  const TemplateError error = error_of("{% if not messages %}\n{{ raise_exception('no ' ~ 'messages') }}{% endif %}");
  EXPECT_EQ(error.fault(), Fault::raised);
  EXPECT_EQ(error.message(), "no messages");
  EXPECT_EQ(error.line(), 2);
}

TEST(Template, TheSandboxRefuses) {
  EXPECT_EQ(error_of("{{ ''.__class__.__mro__ }}").fault(), Fault::security);
  EXPECT_EQ(error_of("{{ l.append(1) }}", {{"l", Json::array()}}).fault(), Fault::security);
  EXPECT_EQ(error_of("{% set n = namespace() %}{% set n._x = 1 %}").fault(), Fault::security);
  EXPECT_EQ(error_of("{% include 'x' %}").fault(), Fault::syntax);
}

TEST(Template, WholeNumbersHave64Bits) {
  EXPECT_EQ(render("{{ -9223372036854775807 - 1 }}"), "-9223372036854775808");
  for (const char* text : {"{{ 9223372036854775807 + 1 }}", "{{ 10 ** 30 }}", "{{ '99999999999999999999' | int }}",
                           "{{ (-9223372036854775807 - 1) // -1 }}"})
    EXPECT_EQ(error_of(text).fault(), Fault::value) << text;
  EXPECT_EQ(error_of("{{ 99999999999999999999 }}").fault(), Fault::syntax);
  EXPECT_EQ(error_of("{{ x }}", {{"x", 18446744073709551615ULL}}).fault(), Fault::value);
}

TEST(Template, StrftimeTakesTheGivenTime) {
  Settings settings;
  settings.now =
      std::chrono::system_clock::from_time_t(1'700'000'000);  // noon is far from midnight in every zone's year
  const auto parsed = Template::parse("{{ strftime_now('%Y %f%%') }}", "t");
  EXPECT_EQ(parsed.render(Json::object(), settings).text, "2023 000000%");
  EXPECT_EQ(error_of("{{ strftime_now('%999999999d') }}").fault(), Fault::value);
}

TEST(Template, TheSameTemplateRendersTwice) {
  const auto parsed =
      Template::parse("{% set n = namespace(i=0) %}{% for x in l %}{% set n.i = n.i + x %}{% endfor %}{{ n.i }}", "t");
  EXPECT_EQ(parsed.render({{"l", {1, 2}}}).text, "3");
  EXPECT_EQ(parsed.render({{"l", {5}}}).text, "5");
}

/// Templates that would never end, or fill the memory or the stack.
class Hostile : public ::testing::TestWithParam<std::string> {};

TEST_P(Hostile, EndsWithAnErrorSoon) {
  const auto start = std::chrono::steady_clock::now();
  const Fault fault = error_of(GetParam()).fault();
  EXPECT_TRUE(fault == Fault::limit || fault == Fault::syntax || fault == Fault::value) << static_cast<int>(fault);
  // 2 s on an idle machine; sanitizers and a busy one take several times as long.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

std::string repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

const std::string kLong = "{% for a in range(99999) %}{% for b in range(99999) %}";
const std::string kEnd = "{% endfor %}{% endfor %}";

INSTANTIATE_TEST_SUITE_P(
    Template, Hostile,
    ::testing::Values(
        kLong + kEnd, kLong + "x" + kEnd, kLong + "{{ a ~ b }}" + kEnd,
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{% macro g() %}{{ caller() }}{% endmacro %}{% call g() %}{{ "
        "f(1) }}{% endcall %}",
        "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}", "{{ 'a' * 9999999999 }}",
        "{{ [1] * 9999999999 }}", "{{ ('a' * 1000000) * 1000000 }}", "{{ '%9999999999d' % 1 }}",
        "{{ 'a'.center(9999999999) }}", "{{ 'a' | indent(9999999999) }}", "{{ '{:9999999999}'.format(1) }}",
        "{{ [1] | batch(9999999999, 1) | list }}", "{{ '1'.zfill(9999999999) }}",
        "{{ {} | tojson(indent=9999999999) }}",
        "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s.replace('', n.s) %}{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
        "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, "
        "n.t] %}{% endfor %}{{ n.s == n.t }}",
        "{% set n = namespace(s=(1,)) %}{% for i in range(99) %}{% set n.s = (n.s, n.s) %}{% endfor %}{{ {n.s: 1} }}",
        "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s | tojson "
        "}}",
        "{% set n = namespace(s=1) %}{% for i in range(99999) %}{% set n.s = [n.s] %}{% endfor %}",
        "{% set n = namespace(s=1) %}{% for i in range(99999) %}{% set n.s = {'a': n.s} %}{% endfor %}",
        "{% set n = namespace() %}{% set n.n = n %}{{ n }}", "{{ 2 ** 9999999999 }}", "{{ range(999999999999) }}",
        "{{ range(9223372036854775807) | list }}", "{{ " + repeated("(", 100000),
        "{{ " + repeated("-", 100000) + "1 }}", "{{ " + repeated("not ", 100000) + "1 }}",
        "{{ 1" + repeated(" + 1", 100000) + " }}", "{{ a" + repeated(".a", 100000) + " }}",
        "{{ a" + repeated("|upper", 100000) + " }}", "{{ a" + repeated(" is defined", 100000) + " }}",
        "{{ a" + repeated(" if 1", 100000) + " }}", "{{ a if 1" + repeated(" else a if 1", 100000) + " }}",
        "{{ " + repeated("[", 100000), "{{ " + repeated("{1:", 100000), repeated("{% if 1 %}", 100000),
        repeated("{% for a in b %}", 100000), "{% set " + repeated("(", 100000), "{{ f" + repeated("(f", 100000)));

TEST(Template, ALoopOfNamespacesIsFreed) {
  // Each refers to the one before: freed one by one, not by a recursion of 99,999 levels.
  EXPECT_EQ(
      render("{% set n = namespace(s=1) %}{% for i in range(99999) %}{% set m = namespace(s=n.s) %}{% set n.s = m %}"
             "{% endfor %}{% set n.n = n %}done"),
      "done");
}

TEST(Template, LimitsAreTheCallers) {
  Settings settings;
  settings.limits.output = 10;
  EXPECT_EQ(error_of("0123456789a", Json::object(), settings).fault(), Fault::limit);
  settings = {};
  settings.limits.steps = 100;
  EXPECT_EQ(error_of("{% for i in range(99) %}{{ i }}{% endfor %}", Json::object(), settings).fault(), Fault::limit);
}

}  // namespace
}  // namespace lorica::jinja
