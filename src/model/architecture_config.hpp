// Typed reading of config.json: every getter names the file and the key when the value is not what it must be.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace lorica::model {

/// A view of one JSON object of a config. A key that is absent or null counts as not given.
class ConfigReader {
 public:
  /// `origin` names the file in messages, `prefix` the enclosing key ("rope_parameters."). Throws ModelError when
  /// `object` is not a JSON object. Both must outlive the reader.
  ConfigReader(const nlohmann::json& object, std::string origin, std::string prefix = "");

  bool has(const std::string& key) const;         ///< present and not null
  bool holds_null(const std::string& key) const;  ///< present and null
  const nlohmann::json& at(const std::string& key) const;

  /// An integer in [1, limit]; the first throws when the key is not given.
  int64_t required_size(const std::string& key, int64_t limit) const;
  int64_t size(const std::string& key, int64_t fallback, int64_t limit) const;
  double number(const std::string& key, double fallback) const;           ///< finite
  double positive_number(const std::string& key, double fallback) const;  ///< finite and > 0
  std::optional<double> optional_number(const std::string& key) const;
  bool flag(const std::string& key, bool fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  std::vector<double> numbers(const std::string& key) const;     ///< empty when not given
  std::vector<std::string> texts(const std::string& key) const;  ///< empty when not given

  ConfigReader child(const std::string& key) const;
  const std::string& origin() const { return origin_; }
  const nlohmann::json& object() const { return object_; }
  /// Whether anybody asked for the key yet, of this reader or of its children ("rope_scaling.factor").
  bool was_asked(const std::string& path) const { return asked_->contains(path); }

  /// Throws ModelError "<origin>: <key> <message>".
  [[noreturn]] void fail(const std::string& key, const std::string& message) const;

 private:
  [[noreturn]] void wrong_type(const std::string& key, const char* expected) const;

  const nlohmann::json& object_;
  std::string origin_, prefix_;
  std::shared_ptr<std::set<std::string>> asked_ = std::make_shared<std::set<std::string>>();
};

}  // namespace lorica::model
