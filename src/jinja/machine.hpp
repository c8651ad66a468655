// What built-in functions, filters and methods need of the interpreter, and how they read their arguments.
#pragma once

#include <chrono>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/value.hpp"

namespace lorica::jinja {

class Machine {
 public:
  Machine(const Limits& limits, std::chrono::system_clock::time_point now) : budget_(limits), now_(now) {}
  ~Machine() {
    for (const auto& object : kept_) object->release();
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  Budget& budget() { return budget_; }
  std::chrono::system_clock::time_point now() const { return now_; }
  Value call(const Value& function, Arguments arguments);
  /// Throws Failure if there is no filter, or test, of that name.
  Value filter(std::string_view name, const Value& value, Arguments arguments);
  bool test(std::string_view name, const Value& value, Arguments arguments);
  /// Keeps an object that can be changed until the rendering ends: neither cycles nor long chains of them matter then.
  void keep(std::shared_ptr<Object> object) { kept_.push_back(std::move(object)); }

 private:
  Budget budget_;
  std::chrono::system_clock::time_point now_;
  std::vector<std::shared_ptr<Object>> kept_;
};

/// The arguments of one call of `function`, by parameter.
class Parameters {
 public:
  /// Throws Failure unless they fit `names`, the first `required` of which have no default.
  Parameters(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> names,
             std::size_t required = 0);

  /// nullptr if it wasn't given.
  const Value* operator[](std::size_t place) const { return values_[place]; }
  /// nullptr if it wasn't given or is None.
  const Value* unless_none(std::size_t place) const;
  std::int64_t integer(std::size_t place, std::int64_t fallback) const;
  bool flag(std::size_t place, bool fallback) const;
  const std::string& text(std::size_t place) const;
  std::string text(std::size_t place, std::string_view fallback) const;

 private:
  std::string function_;
  std::vector<const Value*> values_;
};

/// A built-in function, filter or method bound to a value.
using Native = Value (*)(Machine& machine, const Value& self, const Arguments& arguments);

class NativeFunction : public Object {
 public:
  NativeFunction(std::string name, Native native, Value self = {})
      : name_(std::move(name)), native_(native), self_(std::move(self)) {}
  std::string type_name() const override { return "function"; }
  std::string repr(Budget&) const override { return "<function " + name_ + ">"; }
  std::optional<Value> attribute(std::string_view, Budget&) override { return std::nullopt; }
  bool callable() const override { return true; }
  Value call(Machine& machine, Arguments arguments) override { return native_(machine, self_, arguments); }
  int depth() const override { return self_.depth() + 1; }

 private:
  std::string name_;
  Native native_;
  Value self_;
};

/// namespace(): the one value that a template can change.
class Namespace : public Object {
 public:
  std::string type_name() const override { return "Namespace"; }
  std::string repr(Budget& budget) const override;
  std::optional<Value> attribute(std::string_view name, Budget& budget) override;
  /// Throws Failure for a name that begins with an underscore.
  void set(const std::string& name, Value value, Budget& budget);
  void release() override { fields_ = Dict(); }

 private:
  Dict fields_;
};

/// The method `name` of a string, list, tuple or dict; one that would change it is an undefined value that says so.
std::optional<Value> method(const Value& self, std::string_view name);
/// range, dict, namespace, raise_exception, …; nullptr if there is none.
const Value* global(std::string_view name);
/// nullptr if there is none.
Native find_filter(std::string_view name);
Native find_text_method(std::string_view name);

/// `format` % value, as Python formats.
std::string percent_format(const std::string& format, const Value& value, Machine& machine);
/// format.format(…).
std::string brace_format(Machine& machine, const std::string& format, const Arguments& arguments);
/// One value by a format specification: ">8.2f".
std::string format_value(const Value& value, const std::string& specification, Budget& budget);

/// Python's json.dumps. `indent`: of each level, nullopt for a single line.
struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false;
};
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);

/// datetime.strftime of a local time.
std::string format_time(const std::string& format, std::chrono::system_clock::time_point time, Budget& budget);

}  // namespace lorica::jinja
