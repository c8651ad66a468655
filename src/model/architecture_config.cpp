// Typed reading of config.json: see architecture_config.hpp.
#include "model/architecture_config.hpp"

#include <cmath>

namespace lorica::model {
namespace {

/// The value as it stands in the file, cut to a readable length.
std::string shown(const nlohmann::json& value) {
  constexpr std::size_t kLongest = 60;
  auto text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kLongest) text.replace(kLongest, std::string::npos, "…");
  return text;
}

}  // namespace

ConfigReader::ConfigReader(const nlohmann::json& object, std::string origin, std::string prefix)
    : object_(object), origin_(std::move(origin)), prefix_(std::move(prefix)) {
  if (!object_.is_object()) {
    const auto name = prefix_.empty() ? std::string("the file") : prefix_.substr(0, prefix_.size() - 1);
    raise<ModelError>("{}: {} must hold a JSON object, not {}", origin_, name, shown(object_));
  }
}

bool ConfigReader::has(const std::string& key) const {
  asked_->insert(prefix_ + key);
  return object_.contains(key) && !object_.at(key).is_null();
}

bool ConfigReader::holds_null(const std::string& key) const {
  asked_->insert(prefix_ + key);
  return object_.contains(key) && object_.at(key).is_null();
}

const nlohmann::json& ConfigReader::at(const std::string& key) const {
  if (!has(key)) fail(key, "is missing");
  return object_.at(key);
}

void ConfigReader::fail(const std::string& key, const std::string& message) const {
  raise<ModelError>("{}: {}{} {}", origin_, prefix_, key, message);
}

void ConfigReader::wrong_type(const std::string& key, const char* expected) const {
  fail(key, fmt::format("must be {}, not {}", expected, shown(object_.at(key))));
}

int64_t ConfigReader::required_size(const std::string& key, int64_t limit) const {
  if (!has(key)) fail(key, "is missing: this is not a complete model configuration");
  return size(key, 0, limit);
}

int64_t ConfigReader::size(const std::string& key, int64_t fallback, int64_t limit) const {
  if (!has(key)) return fallback;
  const auto& value = object_.at(key);
  // Some exporters write whole numbers as 4096.0.
  const bool whole =
      value.is_number_integer() || (value.is_number_float() && std::floor(value.get<double>()) == value.get<double>());
  if (!whole) wrong_type(key, "a whole number");
  const auto figure = value.get<double>();
  if (figure < 1.0) wrong_type(key, "at least 1");
  if (figure > static_cast<double>(limit))
    fail(key, fmt::format("is {}: more than {} is not plausible", shown(value), limit));
  return value.is_number_float() ? static_cast<int64_t>(figure) : value.get<int64_t>();
}

double ConfigReader::number(const std::string& key, double fallback) const {
  return optional_number(key).value_or(fallback);
}

double ConfigReader::positive_number(const std::string& key, double fallback) const {
  const double value = number(key, fallback);
  if (!(value > 0.0)) wrong_type(key, "greater than 0");
  return value;
}

std::optional<double> ConfigReader::optional_number(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  const auto& value = object_.at(key);
  if (!value.is_number() || !std::isfinite(value.get<double>())) wrong_type(key, "a number");
  return value.get<double>();
}

bool ConfigReader::flag(const std::string& key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!object_.at(key).is_boolean()) wrong_type(key, "true or false");
  return object_.at(key).get<bool>();
}

std::string ConfigReader::text(const std::string& key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  if (!object_.at(key).is_string()) wrong_type(key, "a text");
  return object_.at(key).get<std::string>();
}

std::vector<double> ConfigReader::numbers(const std::string& key) const {
  std::vector<double> result;
  if (!has(key)) return result;
  if (!object_.at(key).is_array()) wrong_type(key, "a list of numbers");
  for (const auto& item : object_.at(key)) {
    if (!item.is_number() || !std::isfinite(item.get<double>())) wrong_type(key, "a list of numbers");
    result.push_back(item.get<double>());
  }
  return result;
}

std::vector<std::string> ConfigReader::texts(const std::string& key) const {
  std::vector<std::string> result;
  if (!has(key)) return result;
  if (!object_.at(key).is_array()) wrong_type(key, "a list of texts");
  for (const auto& item : object_.at(key)) {
    if (!item.is_string()) wrong_type(key, "a list of texts");
    result.push_back(item.get<std::string>());
  }
  return result;
}

ConfigReader ConfigReader::child(const std::string& key) const {
  ConfigReader reader(at(key), origin_, prefix_ + key + ".");
  reader.asked_ = asked_;
  return reader;
}

}  // namespace lorica::model
