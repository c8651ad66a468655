#include "data/row_parser.hpp"

#include <algorithm>
#include <vector>

#include "base/strings.hpp"
#include "data/text_file.hpp"
#include "tokenizer/unicode.hpp"

namespace lorica::data {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 256;  // deeper values would overflow the stack of whoever walks them

std::size_t start_in_file(const RawRow& row, std::string_view text) {
  return row.file == nullptr ? 0 : static_cast<std::size_t>(text.data() - row.file->text().data());
}

/// A fault at byte `offset` of the row's text.
[[noreturn]] void fail(const RawRow& row, std::string_view text, std::size_t offset, const std::string& what) {
  const auto place = place_of(text, std::min(offset, text.size()));
  throw BadRow(what, row.line + place.line - 1, place.column + (place.line == 1 ? row.column - 1 : 0));
}

bool is_name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// The text with null for NaN, Infinity and -Infinity outside strings.
struct WithoutNan {
  std::string text;
  std::vector<std::pair<std::size_t, std::size_t>> moved;  ///< (offset in `text`, the same in the original), ascending

  std::size_t original(std::size_t offset) const {
    std::size_t result = offset;
    for (const auto& [here, there] : moved) {
      if (here <= offset) result = there + (offset - here);
    }
    return result;
  }
};

WithoutNan without_nan(std::string_view text) {
  WithoutNan result;
  bool inside = false;
  for (std::size_t i = 0; i < text.size();) {
    if (inside || text[i] == '"') {
      const bool escape = inside && text[i] == '\\' && i + 1 < text.size();
      if (text[i] == '"') inside = !inside;
      result.text += text.substr(i, escape ? 2 : 1);
      i += escape ? 2 : 1;
      continue;
    }
    std::size_t length = 0;
    for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
      const bool starts = i == 0 || !is_name_byte(text[i - 1]);
      const auto end = i + word.size();
      if (starts && text.substr(i).starts_with(word) && (end == text.size() || !is_name_byte(text[end]))) {
        length = word.size();
      }
    }
    if (length == 0) {
      result.text += text[i++];
      continue;
    }
    result.text += "null";
    i += length;
    result.moved.emplace_back(result.text.size(), i);
  }
  return result;
}

/// The parser's message without its "[json.exception…] parse error at line…: " head and without what can't be printed.
std::string reason(const std::string& message) {
  auto at = message.find(": ");  // "[…] parse error at line 1, column 5: syntax error …"; "[…] number overflow …"
  if (at == std::string::npos) at = message.find("] ");
  std::string text = at == std::string::npos ? message : message.substr(at + 2);
  constexpr std::string_view kHead = "syntax error while parsing ";
  if (text.starts_with(kHead)) text.erase(0, kHead.size());
  for (auto& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7F) c = '?';
  }
  return text;
}

bool is_deeper_than(const Json& value, int levels) {
  if (!value.is_structured()) return false;
  if (levels == 0) return true;
  for (const auto& item : value) {
    if (is_deeper_than(item, levels - 1)) return true;
  }
  return false;
}

Json parse_json_row(const RawRow& row, std::string_view text, const std::string& name) {
  WithoutNan changed;
  const auto try_parse = [](std::string_view json) { return Json::parse(json); };
  try {
    return try_parse(text);
  } catch (const Json::exception&) {
    changed = without_nan(text);
  }
  try {
    return try_parse(changed.text);
  } catch (const Json::parse_error& error) {
    if (const auto fault = utf8_fault(text, name, start_in_file(row, text)); !fault.empty()) {
      fail(row, text, changed.original(error.byte > 0 ? error.byte - 1 : 0), fault);
    }
    fail(row, text, changed.original(error.byte > 0 ? error.byte - 1 : 0), "malformed JSON: " + reason(error.what()));
  } catch (const Json::exception& error) {  // a number beyond all bounds
    fail(row, text, 0, "malformed JSON: " + reason(error.what()));
  }
}

}  // namespace

std::string kind_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::string:
      return "text";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::object:
      if (const auto type = value.find("arrow type"); type != value.end()) return "Arrow's " + type->get<std::string>();
      return "an object";
    case Json::value_t::boolean:
      return "true or false";
    case Json::value_t::null:
      return "null";
    case Json::value_t::binary:
      return "bytes";
    default:
      return "a number";
  }
}

Json parse_row(const RawRow& row, const std::string& name) {
  if (const auto* document = std::get_if<RawRow::Document>(&row.content)) {
    if (const auto fault = utf8_fault(document->text, name); !fault.empty()) {
      fail(row, document->text, tokenizer::valid_utf8_prefix(document->text), fault);
    }
    return {{"text", clean_text(document->text)}};
  }
  if (const auto* value = std::get_if<Json>(&row.content)) return *value;
  auto parsed = parse_json_row(row, std::get<RawRow::Json>(row.content).text, name);
  if (!parsed.is_object()) {
    bad_row("a row must be an object with named columns ({{\"text\": …}}), not {}", kind_of(parsed));
  }
  if (is_deeper_than(parsed, kMaxDepth)) bad_row("the row is nested deeper than {} levels", kMaxDepth);
  return parsed;
}

}  // namespace lorica::data
