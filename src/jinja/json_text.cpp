// json.dumps, as transformers' tojson calls it. Source: https://docs.python.org/3/library/json.html
#include <algorithm>
#include <cmath>

#include "jinja/machine.hpp"
#include "jinja/text.hpp"

namespace lorica::jinja {
namespace {

class Writer {
 public:
  Writer(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void value(const Value& value, int level) {
    budget_.step();
    if (value.is_none()) {
      out_ += "null";
    } else if (const auto* boolean = value.get<bool>()) {
      out_ += *boolean ? "true" : "false";
    } else if (const auto* integer = value.get<std::int64_t>()) {
      out_ += std::to_string(*integer);
    } else if (const auto* real = value.get<double>()) {
      out_ += number(*real);
    } else if (const std::string* text = value.as_text()) {
      string(*text);
    } else if (const Sequence* array = value.as_array()) {
      list(*array, level);
    } else if (const Dict* dict = value.as_dict()) {
      object(*dict, level);
    } else {
      fail(Fault::value, "Object of type {} is not JSON serializable", type_name(value));
    }
    budget_.memory(out_.size() - std::exchange(counted_, out_.size()));
  }
  std::string take() { return std::move(out_); }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
  }

  void string(const std::string& text) {
    out_ += '"';
    for (const char32_t c : style_.ensure_ascii ? decode(text) : std::u32string()) character(c);
    if (!style_.ensure_ascii) {
      for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x80) {
          character(static_cast<char32_t>(c));
        } else {
          out_ += c;
        }
      }
    }
    out_ += '"';
  }

  void character(char32_t c) {
    constexpr std::string_view kNames = "\"\\nrtbf", kCharacters = "\"\\\n\r\t\b\f";
    const std::size_t place = c < 0x80 ? kCharacters.find(static_cast<char>(c)) : std::string_view::npos;
    if (place != std::string_view::npos) {
      out_ += '\\';
      out_ += kNames[place];
    } else if (c >= 0x10000) {
      const std::uint32_t rest = static_cast<std::uint32_t>(c) - 0x10000;
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10U), 0xDC00 + (rest & 0x3FFU));
    } else if (c < 0x20 || c > 0x7E) {
      if (c == 0x7F) {
        out_ += '\x7F';
      } else {
        out_ += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
      }
    } else {
      out_ += static_cast<char>(c);
    }
  }

  void line(int level) {
    if (!style_.indent) return;
    out_ += '\n';
    budget_.memory(style_.indent->size() * static_cast<std::size_t>(level));
    for (int i = 0; i < level; ++i) out_ += *style_.indent;
  }

  void list(const Sequence& array, int level) {
    if (array.items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    for (std::size_t i = 0; i < array.items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      line(level + 1);
      value(array.items[i], level + 1);
    }
    line(level);
    out_ += ']';
  }

  std::string key_text(const Value& key) const {
    if (const std::string* text = key.as_text()) return *text;
    if (key.is_none()) return "null";
    if (const auto* boolean = key.get<bool>()) return *boolean ? "true" : "false";
    if (const auto* integer = key.get<std::int64_t>()) return std::to_string(*integer);
    if (const auto* real = key.get<double>()) return number(*real);
    fail(Fault::value, "keys must be str, int, float, bool or None, not {}", type_name(key));
  }

  void object(const Dict& dict, int level) {
    if (dict.size() == 0) {
      out_ += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [this](const auto* a, const auto* b) { return compare(a->first, b->first, "<", budget_) < 0; });
    }
    out_ += '{';
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      line(level + 1);
      string(key_text(entries[i]->first));
      out_ += style_.key_separator;
      value(entries[i]->second, level + 1);
    }
    line(level);
    out_ += '}';
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
  std::size_t counted_ = 0;
};

}  // namespace

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  Writer writer(style, budget);
  writer.value(value, 0);
  return writer.take();
}

}  // namespace lorica::jinja
