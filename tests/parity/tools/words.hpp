// An enumeration's value by its name, for the tools' requests.
#pragma once

#include <string>

#include "base/error.hpp"
#include "config/vocabulary.hpp"

template <class Enum>
Enum value_of(const std::string& name) {
  for (const auto& word : lorica::config::words_of(Enum{})) {
    if (word.name == name) return word.value;
  }
  lorica::raise<lorica::ConfigError>("'{}' is none of the names", name);
}
