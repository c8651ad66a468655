// The values of a template: Python's, as far as templates can tell. All but namespaces and the interpreter's own
// objects are immutable, as in jinja2's ImmutableSandboxedEnvironment, and shared. Source:
// https://docs.python.org/3/library/stdtypes.html
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "jinja/budget.hpp"

namespace lorica::jinja {

class Value;
class Dict;
class Machine;

/// Containers nested deeper than this are refused: they are built, printed and freed by recursion.
constexpr int kMaxValueDepth = 150;

struct None {};

/// What a missing name or attribute yields. Printed and looped over it is empty; used otherwise, `message` is the
/// error.
struct Undefined {
  std::string message;
  Fault fault = Fault::undefined;
};

/// UTF-8. `markup`: marked as safe HTML, so that what is joined to it gets escaped.
struct Text {
  std::shared_ptr<const std::string> bytes;
  bool markup = false;
};

/// What a sequence is in Python. A generator can be run through once; the views of a dict can't be indexed.
enum class Flavor { list, tuple, range, generator, keys, values, items };

struct Sequence {
  Flavor flavor = Flavor::list;
  std::vector<Value> items;
  int depth = 1;                           ///< 1 + that of the deepest element
  std::array<std::int64_t, 3> range = {};  ///< start, stop, step of a range
  mutable bool consumed = false;           ///< of a generator
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

/// Something with behaviour: function, macro, namespace, loop.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  virtual std::string repr(Budget&) const { return "<" + type_name() + ">"; }
  virtual std::optional<Value> attribute(std::string_view name, Budget& budget) = 0;
  virtual bool callable() const { return false; }
  virtual Value call(Machine& machine, Arguments arguments);
  virtual int depth() const { return 1; }
  /// Lets go of what it refers to: the rendering has ended.
  virtual void release() {}
};

class Value {
 public:
  using Data = std::variant<None, std::shared_ptr<const Undefined>, bool, std::int64_t, double, Text,
                            std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<Object>>;

  Value() = default;
  explicit Value(Data data) : data_(std::move(data)) {}
  static Value boolean(bool value) { return Value(Data(value)); }
  static Value integer(std::int64_t value) { return Value(Data(value)); }
  static Value real(double value) { return Value(Data(value)); }
  static Value text(std::string bytes, bool markup = false) {
    return Value(Data(Text{std::make_shared<const std::string>(std::move(bytes)), markup}));
  }
  static Value undefined(std::string message, Fault fault = Fault::undefined) {
    return Value(Data(std::make_shared<const Undefined>(Undefined{std::move(message), fault})));
  }
  static Value sequence(Flavor flavor, std::vector<Value> items, Budget& budget);
  static Value list(std::vector<Value> items, Budget& budget) {
    return sequence(Flavor::list, std::move(items), budget);
  }
  static Value dict(Dict dict);

  template <class T>
  const T* get() const {
    return std::get_if<T>(&data_);
  }
  bool is_none() const { return get<None>() != nullptr; }
  const Undefined* as_undefined() const { return pointed<const Undefined>(); }
  const std::string* as_text() const { return get<Text>() ? get<Text>()->bytes.get() : nullptr; }
  bool is_markup() const { return get<Text>() && get<Text>()->markup; }
  const Sequence* as_sequence() const { return pointed<const Sequence>(); }
  /// As a list or tuple only.
  const Sequence* as_array() const;
  const Dict* as_dict() const { return pointed<const Dict>(); }
  Object* as_object() const { return pointed<Object>(); }
  /// A bool or int.
  std::optional<std::int64_t> as_integer() const;
  /// A bool, int or float.
  std::optional<double> as_number() const;
  /// The same object (Python's `is`).
  bool same(const Value& other) const;
  int depth() const;

 private:
  template <class T>
  T* pointed() const {
    const auto* pointer = std::get_if<std::shared_ptr<T>>(&data_);
    return pointer ? pointer->get() : nullptr;
  }
  Data data_;
};

/// Keeps the order of insertion. Keys are compared as Python does: 1, 1.0 and True are one key.
class Dict {
 public:
  const Value* find(const Value& key, Budget& budget) const;
  const Value* find(std::string_view key) const;
  /// Throws Failure if the key isn't hashable.
  void set(Value key, Value value, Budget& budget);
  const std::vector<std::pair<Value, Value>>& entries() const { return entries_; }
  std::size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

 private:
  std::vector<std::pair<Value, Value>> entries_;
  std::unordered_multimap<std::size_t, std::size_t> places_;
  int depth_ = 1;
};

/// "str", "int", "NoneType", …
std::string type_name(const Value& value);
bool truth(const Value& value);
bool equals(const Value& a, const Value& b, Budget& budget);
/// -1, 0, 1; throws Failure where Python has no order. `sign` is for its message. NaN compares as unordered: 2.
int compare(const Value& a, const Value& b, std::string_view sign, Budget& budget);
std::size_t hash(const Value& value, Budget& budget);
std::string to_str(const Value& value, Budget& budget);
std::string repr(const Value& value, Budget& budget);
/// The elements, in order; of a string its characters, of a dict its keys. Throws Failure if it can't be looped over.
std::vector<Value> elements(const Value& value, Budget& budget);
/// len(); nullopt if the value has none.
std::optional<std::int64_t> length(const Value& value);
/// Throws what using an undefined value means; does nothing for others.
void require_defined(const Value& value);

}  // namespace lorica::jinja
