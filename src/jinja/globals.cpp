// The functions and objects that every template sees: jinja2's, and those that transformers adds.
// Sources: https://jinja.palletsprojects.com/en/stable/templates/#list-of-global-functions,
// https://huggingface.co/docs/transformers/chat_templating_writing
#include <algorithm>
#include <unordered_map>

#include "jinja/machine.hpp"

namespace lorica::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100'000;  // the sandbox's own bound

Value range(Machine& machine, const Value&, const Arguments& arguments) {
  const Parameters parameters("range", arguments, {"start", "stop", "step"}, 1);
  const bool one = !parameters[1];
  const std::int64_t start = one ? 0 : parameters.integer(0, 0);
  const std::int64_t stop = parameters.integer(one ? 0 : 1, 0), step = parameters.integer(2, 1);
  if (step == 0) fail(Fault::value, "range() arg 3 must not be zero");
  std::vector<Value> items;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<std::int64_t>(items.size()) >= kMaxRange)
      fail(Fault::value, "Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  machine.budget().memory(items.size() * sizeof(Value));
  auto sequence = std::make_shared<Sequence>();
  sequence->flavor = Flavor::range;
  sequence->items = std::move(items);
  sequence->range = {start, stop, step};
  return Value(Value::Data(std::shared_ptr<const Sequence>(std::move(sequence))));
}

Dict dict_of(Machine& machine, const Arguments& arguments) {
  Budget& budget = machine.budget();
  Dict dict;
  if (arguments.positional.size() > 1) fail(Fault::value, "dict expected at most 1 argument");
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (const Dict* other = source.as_dict()) {
      for (const auto& [key, value] : other->entries()) dict.set(key, value, budget);
    } else {
      for (const Value& pair : elements(source, budget)) {
        const std::vector<Value> parts = elements(pair, budget);
        if (parts.size() != 2) fail(Fault::value, "dict() needs pairs, and got {} elements", parts.size());
        dict.set(parts[0], parts[1], budget);
      }
    }
  }
  for (const auto& [name, value] : arguments.keyword) dict.set(Value::text(name), value, budget);
  return dict;
}

Value make_dict(Machine& machine, const Value&, const Arguments& arguments) {
  return Value::dict(dict_of(machine, arguments));
}

Value make_namespace(Machine& machine, const Value&, const Arguments& arguments) {
  auto object = std::make_shared<Namespace>();
  const Dict fields = dict_of(machine, arguments);
  for (const auto& [key, value] : fields.entries()) {
    if (!key.as_text()) fail(Fault::value, "a namespace's names are strings");
    object->set(*key.as_text(), value, machine.budget());
  }
  machine.budget().memory(sizeof(Namespace));
  machine.keep(object);
  return Value(Value::Data(std::shared_ptr<Object>(std::move(object))));
}

/// Empty when it is called first, afterwards its separator.
class Joiner : public Object {
 public:
  explicit Joiner(std::string separator) : separator_(std::move(separator)) {}
  std::string type_name() const override { return "Joiner"; }
  std::optional<Value> attribute(std::string_view, Budget&) override { return std::nullopt; }
  bool callable() const override { return true; }
  Value call(Machine&, Arguments) override { return Value::text(std::exchange(used_, true) ? separator_ : ""); }

 private:
  std::string separator_;
  bool used_ = false;
};

Value make_joiner(Machine&, const Value&, const Arguments& arguments) {
  const Parameters parameters("joiner", arguments, {"sep"});
  return Value(Value::Data(std::shared_ptr<Object>(std::make_shared<Joiner>(parameters.text(0, ", ")))));
}

class Cycler : public Object, public std::enable_shared_from_this<Cycler> {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(std::string_view name, Budget&) override {
    if (name == "current") return items_[place_];
    if (name != "next" && name != "reset") return std::nullopt;
    const Native native = name == "next" ? next : reset;
    return Value(Value::Data(std::shared_ptr<Object>(std::make_shared<NativeFunction>(
        std::string(name), native, Value(Value::Data(std::shared_ptr<Object>(shared_from_this())))))));
  }
  int depth() const override {
    int deepest = 0;
    for (const Value& item : items_) deepest = std::max(deepest, item.depth());
    return deepest + 1;
  }

 private:
  static Value next(Machine&, const Value& self, const Arguments&) {
    auto& cycler = dynamic_cast<Cycler&>(*self.as_object());
    const Value current = cycler.items_[cycler.place_];
    cycler.place_ = (cycler.place_ + 1) % cycler.items_.size();
    return current;
  }
  static Value reset(Machine&, const Value& self, const Arguments&) {
    dynamic_cast<Cycler&>(*self.as_object()).place_ = 0;
    return {};
  }

  std::vector<Value> items_;
  std::size_t place_ = 0;
};

Value make_cycler(Machine& machine, const Value&, const Arguments& arguments) {
  if (arguments.positional.empty()) fail(Fault::value, "cycler() needs at least one item");
  const Value checked = Value::list(arguments.positional, machine.budget());  // refuses what nests too deep
  return Value(Value::Data(std::shared_ptr<Object>(std::make_shared<Cycler>(arguments.positional))));
}

Value raise_exception(Machine& machine, const Value&, const Arguments& arguments) {
  const Parameters parameters("raise_exception", arguments, {"message"}, 1);
  throw Failure{Fault::raised, to_str(*parameters[0], machine.budget())};
}

Value strftime_now(Machine& machine, const Value&, const Arguments& arguments) {
  const Parameters parameters("strftime_now", arguments, {"format"}, 1);
  return Value::text(format_time(parameters.text(0), machine.now(), machine.budget()));
}

Value function(const char* name, Native native) {
  return Value(Value::Data(std::shared_ptr<Object>(std::make_shared<NativeFunction>(name, native))));
}

}  // namespace

std::string Namespace::repr(Budget& budget) const {
  const Budget::Level level(budget);
  std::string out = "<Namespace {";
  for (const auto& [key, value] : fields_.entries())
    out += (&key == &fields_.entries()[0].first ? "" : ", ") + jinja::repr(key, budget) + ": " +
           jinja::repr(value, budget);
  return out + "}>";
}

std::optional<Value> Namespace::attribute(std::string_view name, Budget&) {
  const Value* found = fields_.find(name);
  return found ? std::optional<Value>(*found) : std::nullopt;
}

void Namespace::set(const std::string& name, Value value, Budget& budget) {
  if (name.starts_with('_'))
    fail(Fault::security, "a template can't store '{}' in a namespace: names there don't begin with an underscore",
         name);
  fields_.set(Value::text(name), std::move(value), budget);
}

const Value* global(std::string_view name) {
  static const std::unordered_map<std::string_view, Value> table = {
      {"range", function("range", range)},
      {"dict", function("dict", make_dict)},
      {"namespace", function("namespace", make_namespace)},
      {"joiner", function("joiner", make_joiner)},
      {"cycler", function("cycler", make_cycler)},
      {"raise_exception", function("raise_exception", raise_exception)},
      {"strftime_now", function("strftime_now", strftime_now)}};
  const auto found = table.find(name);
  return found == table.end() ? nullptr : &found->second;
}

}  // namespace lorica::jinja
