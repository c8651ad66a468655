// What goes wrong with a template: the public error, and the one that the interpreter throws before a line is known.
#pragma once

#include <string>
#include <utility>

#include "base/error.hpp"

namespace lorica::jinja {

enum class Fault {
  syntax,     ///< the template's text can't be parsed
  raised,     ///< the template itself refused its input, with raise_exception
  undefined,  ///< something that isn't there was used
  value,      ///< an operation got a value of the wrong type or range (Python's TypeError, ValueError and the like)
  security,   ///< what the sandbox forbids
  limit       ///< too many steps, too deep, too large
};

/// An error of a template. `what()` is "NAME: line 3: message"; `message()` is the last part alone, for `Fault::raised`
/// the text that the template gave.
class TemplateError : public DataError {
 public:
  TemplateError(Fault fault, const std::string& name, int line, std::string message)
      : DataError(fmt::format("{}: line {}: {}", name, line, message)),
        fault_(fault),
        line_(line),
        message_(std::move(message)) {}
  Fault fault() const { return fault_; }
  int line() const { return line_; }
  const std::string& message() const { return message_; }

 private:
  Fault fault_;
  int line_;
  std::string message_;
};

/// Inside the interpreter: becomes a TemplateError where the line is known.
struct Failure {
  Fault fault;
  std::string message;
};

template <class... Args>
[[noreturn]] void fail(Fault fault, fmt::format_string<Args...> format, Args&&... args) {
  throw Failure{fault, fmt::format(format, std::forward<Args>(args)...)};
}

}  // namespace lorica::jinja
