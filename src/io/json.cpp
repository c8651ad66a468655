#include "io/json.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/files.hpp"

namespace lorica::io {
namespace {

constexpr int kMaxDepth = 256;

struct Position {
  std::size_t line = 1, column = 1;
};

Position position_of(std::string_view text, std::size_t offset) {
  const auto before = text.substr(0, std::min(offset, text.size()));
  Position position;
  position.line = static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n')) + 1;
  const auto newline = before.rfind('\n');
  position.column = before.size() - (newline == std::string_view::npos ? 0 : newline + 1) + 1;
  return position;
}

/// Documents nested without end would overflow the stack of whoever walks or copies them later.
void check_depth(std::string_view text, const std::string& source) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) {
        const auto at = position_of(text, i);
        raise<ModelError>("{}:{}:{}: JSON nested deeper than {} levels", source, at.line, at.column, kMaxDepth);
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

/// The parser's own message without its "[json.exception…] parse error at line…: " head and without bytes of the file
/// that are not printable.
std::string reason(const std::string& message) {
  const auto at = message.find(message.find("parse error") == std::string::npos ? "] " : ": ");
  std::string text = at == std::string::npos ? message : message.substr(at + 2);
  for (auto& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7F) c = '?';
  }
  return text;
}

/// Reads a document for its first fault alone. The parser reports each kind of fault here with its place; the
/// exceptions that it throws otherwise have one for malformed text only.
class FaultFinder : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& error) override {
    offset = position > 0 ? position - 1 : 0;
    message = error.what();
    return false;
  }

  std::size_t offset = 0;
  std::string message;
};

std::string_view type_of(const nlohmann::json& value) {
  if (value.is_number_integer()) return "an integer";
  switch (value.type()) {
    case nlohmann::json::value_t::string:
      return "a string";
    case nlohmann::json::value_t::array:
      return "a list";
    case nlohmann::json::value_t::object:
      return "an object";
    case nlohmann::json::value_t::boolean:
      return "true or false";
    case nlohmann::json::value_t::null:
      return "null";
    default:
      return "a number";
  }
}

bool is_int64(const nlohmann::json& value) {
  return value.is_number_integer() && (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
}

}  // namespace

std::optional<JsonFault> find_json_fault(std::string_view text) {
  FaultFinder finder;
  if (nlohmann::json::sax_parse(text, &finder)) return std::nullopt;
  const auto at = position_of(text, finder.offset);
  return JsonFault{finder.offset, at.line, at.column, reason(finder.message)};
}

nlohmann::json parse_json(std::string_view text, const std::string& source) {
  check_depth(text, source);
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    const auto fault = find_json_fault(text).value_or(JsonFault{0, 1, 1, reason(error.what())});
    raise<ModelError>("{}:{}:{}: malformed JSON: {}", source, fault.line, fault.column, fault.reason);
  }
}

nlohmann::json read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

void write_json(const std::filesystem::path& path, const nlohmann::ordered_json& value) {
  write_file(path, value.dump(2) + "\n");
}

void write_json(const std::filesystem::path& path, const nlohmann::json& value) {
  write_file(path, value.dump(2) + "\n");
}

JsonFields::JsonFields(const nlohmann::json& object, std::string source) : object_(object), source_(std::move(source)) {
  if (!object.is_object()) raise<ModelError>("{}: a JSON object is needed, but it holds {}", source_, type_of(object));
}

const nlohmann::json* JsonFields::find(const std::string& key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool JsonFields::has(const std::string& key) const {
  return find(key) != nullptr;
}

void JsonFields::reject(const std::string& key, std::string_view needed) const {
  const auto* value = find(key);
  raise<ModelError>("{}: \"{}\" is {}, but {} is needed", source_, key, value ? type_of(*value) : "absent", needed);
}

std::optional<std::int64_t> JsonFields::integer(const std::string& key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (!is_int64(*value)) reject(key, "an integer of 64 bits");
  return value->get<std::int64_t>();
}

std::optional<double> JsonFields::number(const std::string& key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_number()) reject(key, "a number");
  return value->get<double>();
}

std::optional<bool> JsonFields::boolean(const std::string& key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) reject(key, "true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonFields::string(const std::string& key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_string()) reject(key, "a string");
  return value->get<std::string>();
}

std::optional<std::vector<std::string>> JsonFields::strings(const std::string& key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_array()) reject(key, "a list of strings");
  std::vector<std::string> result;
  for (const auto& item : *value) {
    if (!item.is_string())
      raise<ModelError>("{}: \"{}\" holds {}, but strings are needed", source_, key, type_of(item));
    result.push_back(item.get<std::string>());
  }
  return result;
}

std::optional<std::vector<std::int64_t>> JsonFields::integers(const std::string& key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_array()) reject(key, "a list of integers");
  std::vector<std::int64_t> result;
  for (const auto& item : *value) {
    if (!is_int64(item)) raise<ModelError>("{}: \"{}\" holds {}, but integers are needed", source_, key, type_of(item));
    result.push_back(item.get<std::int64_t>());
  }
  return result;
}

const nlohmann::json* JsonFields::object(const std::string& key) const {
  const auto* value = find(key);
  if (value && !value->is_object()) reject(key, "an object");
  return value;
}

}  // namespace lorica::io
