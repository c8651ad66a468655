// Reading of untrusted JSON: each access checks the type, and an error names the file and the path to the value.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.hpp"

namespace lorica::tokenizer {

/// A value together with where it stands ("tokenizer.json: pre_tokenizer.pretokenizers[1]"). Refers to a document that
/// must outlive it.
class JsonView {
 public:
  JsonView(const nlohmann::json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const nlohmann::json& json() const { return *value_; }
  const std::string& where() const { return where_; }
  bool is_null() const { return value_->is_null(); }

  /// Member `key`; a missing one reads as null.
  JsonView operator[](const char* key) const {
    static const nlohmann::json missing;
    if (!value_->is_object()) wrong("an object");
    const auto found = value_->find(key);
    return {found == value_->end() ? missing : *found, where_ + "." + key};
  }
  JsonView at(std::size_t index) const { return {(*value_)[index], where_ + "[" + std::to_string(index) + "]"}; }
  /// Elements of an array.
  std::size_t size() const {
    if (!value_->is_array()) wrong("an array");
    return value_->size();
  }

  const std::string& text() const {
    if (!value_->is_string()) wrong("a string");
    return value_->get_ref<const std::string&>();
  }
  std::string text_or(std::string fallback) const { return is_null() ? std::move(fallback) : text(); }
  bool flag_or(bool fallback) const {
    if (is_null()) return fallback;
    if (!value_->is_boolean()) wrong("true or false");
    return value_->get<bool>();
  }
  double number() const {
    if (!value_->is_number()) wrong("a number");
    return value_->get<double>();
  }
  /// A whole number of [0, most].
  std::int64_t whole(std::int64_t most) const {
    const bool fits = value_->is_number_unsigned() ? value_->get<std::uint64_t>() <= static_cast<std::uint64_t>(most)
                                                   : value_->is_number_integer() && value_->get<std::int64_t>() >= 0;
    if (!fits) wrong(fmt::format("a whole number from 0 to {}", most).c_str());
    return value_->get<std::int64_t>();
  }

  [[noreturn]] void wrong(const char* expected) const {
    std::string got =
        value_->is_null() ? "nothing" : value_->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (got.size() > 60) got = got.substr(0, 57) + "...";
    raise<DataError>("{}: expected {}, got {}", where_, expected, got);
  }

 private:
  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace lorica::tokenizer
