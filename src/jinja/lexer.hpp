// Template text to tokens, with the white space control of jinja2's trim_blocks and lstrip_blocks both on.
// Source: https://jinja.palletsprojects.com/en/stable/templates/#whitespace-control
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "jinja/value.hpp"

namespace lorica::jinja {

struct Token {
  enum class Kind { data, block_begin, block_end, variable_begin, variable_end, name, string, number, sign, end };
  Kind kind;
  std::string text;  ///< of data and strings what they stand for
  int line;
  Value number = {};
};

/// Thrown by lexer and parser; the template's name is added above.
struct SyntaxFailure {
  int line;
  std::string message;
};

/// Throws SyntaxFailure.
std::vector<Token> tokenize(std::string_view source);

}  // namespace lorica::jinja
