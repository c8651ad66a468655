#include "jinja/renderer.hpp"

#include <algorithm>

#include "jinja/operations.hpp"
#include "jinja/text.hpp"

namespace lorica::jinja {
namespace {

/// A macro, or the body of a call block.
class Macro : public Object {
 public:
  Macro(Renderer& renderer, const Statement& statement, ScopePointer scope)
      : renderer_(renderer), statement_(statement), scope_(std::move(scope)) {}
  std::string type_name() const override { return "Macro"; }
  std::optional<Value> attribute(std::string_view name, Budget&) override {
    if (name == "name") return Value::text(statement_.text);
    return std::nullopt;
  }
  bool callable() const override { return true; }
  Value call(Machine&, Arguments arguments) override {
    return renderer_.call_macro(statement_, scope_, std::move(arguments));
  }
  void release() override { scope_.reset(); }

 private:
  Renderer& renderer_;
  const Statement& statement_;
  ScopePointer scope_;
};

/// The variable `loop`.
class Loop : public Object {
 public:
  Loop(Renderer& renderer, const Statement& statement, ScopePointer scope, std::vector<Value> items, int level)
      : renderer_(renderer), statement_(statement), scope_(std::move(scope)), items_(std::move(items)), level_(level) {
    for (const Value& item : items_) depth_ = std::max(depth_, item.depth() + 1);
  }

  const std::vector<Value>& items() const { return items_; }
  void move_to(std::size_t place) { place_ = place; }

  std::string type_name() const override { return "LoopContext"; }
  bool callable() const override { return true; }
  Value call(Machine& machine, Arguments arguments) override {
    if (!statement_.recursive) fail(Fault::value, "loop() needs 'recursive' behind the loop's 'for'");
    const Parameters parameters("loop", arguments, {"iterable"}, 1);
    machine.budget().step();
    return renderer_.repeat_loop(statement_, scope_, *parameters[0], level_ + 1);
  }
  int depth() const override { return depth_; }
  void release() override { scope_.reset(); }

  std::optional<Value> attribute(std::string_view name, Budget&) override {
    const auto size = static_cast<std::int64_t>(items_.size()), place = static_cast<std::int64_t>(place_);
    if (name == "index") return Value::integer(place + 1);
    if (name == "index0") return Value::integer(place);
    if (name == "revindex") return Value::integer(size - place);
    if (name == "revindex0") return Value::integer(size - place - 1);
    if (name == "first") return Value::boolean(place == 0);
    if (name == "last") return Value::boolean(place + 1 == size);
    if (name == "length") return Value::integer(size);
    if (name == "depth") return Value::integer(level_);
    if (name == "depth0") return Value::integer(level_ - 1);
    if (name == "previtem") return place > 0 ? items_[place_ - 1] : Value::undefined("there is no previous item");
    if (name == "nextitem") return place + 1 < size ? items_[place_ + 1] : Value::undefined("there is no next item");
    if (name == "cycle" || name == "changed") return bound(name);
    return std::nullopt;
  }

 private:
  /// A function of the loop as it stands now: what it needs of it is its place, or its memory of what was seen.
  Value bound(std::string_view name) const {
    if (name == "cycle") {
      const Native cycle = [](Machine&, const Value& place, const Arguments& arguments) {
        if (arguments.positional.empty()) fail(Fault::value, "no items for cycling given");
        return arguments.positional[static_cast<std::size_t>(*place.as_integer()) % arguments.positional.size()];
      };
      return object(
          std::make_shared<NativeFunction>("cycle", cycle, Value::integer(static_cast<std::int64_t>(place_))));
    }
    const Native changed = [](Machine& machine, const Value& memory, const Arguments& arguments) {
      auto& seen = dynamic_cast<Namespace&>(*memory.as_object());
      const Value now = Value::sequence(Flavor::tuple, arguments.positional, machine.budget());
      const auto before = seen.attribute("value", machine.budget());
      if (before && equals(*before, now, machine.budget())) return Value::boolean(false);
      seen.set("value", now, machine.budget());
      return Value::boolean(true);
    };
    return object(std::make_shared<NativeFunction>("changed", changed, object(seen_)));
  }
  static Value object(std::shared_ptr<Object> pointer) { return Value(Value::Data(std::move(pointer))); }

  Renderer& renderer_;
  const Statement& statement_;
  ScopePointer scope_;
  std::vector<Value> items_;
  std::shared_ptr<Namespace> seen_ = std::make_shared<Namespace>();
  std::size_t place_ = 0;
  int level_, depth_ = 1;
};

ScopePointer inside(const ScopePointer& scope) {
  return std::make_shared<Scope>(Scope{scope, {}});
}

}  // namespace

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope; scope = scope->parent.get()) {
    for (const auto& [known, value] : scope->names) {
      if (known == name) return &value;
    }
  }
  return nullptr;
}

void Scope::set(const std::string& name, Value value) {
  for (auto& [known, there] : names) {
    if (known == name) {
      there = std::move(value);
      return;
    }
  }
  names.emplace_back(name, std::move(value));
}

Rendered Renderer::run(const Body& body) {
  execute(body, inside(nullptr));
  rendered_.text = std::move(root_);
  return std::move(rendered_);
}

void Renderer::write(std::string_view text) {
  machine_.budget().output(out_->size() + text.size());
  machine_.budget().step(text.size() / 64);
  *out_ += text;
}

std::string Renderer::capture(const Body& body, const ScopePointer& scope) {
  std::string text;
  std::string* const before = std::exchange(out_, &text);
  execute(body, scope);
  out_ = before;  // after an exception nobody writes any more
  machine_.budget().memory(text.size());
  return text;
}

Renderer::Flow Renderer::execute(const Body& body, const ScopePointer& scope) {
  const Budget::Level level(machine_.budget());
  for (const Statement& statement : body) {
    const Flow flow = execute(statement, scope);
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

Renderer::Flow Renderer::execute(const Statement& statement, const ScopePointer& scope) {
  machine_.budget().step();
  line_ = statement.line;
  switch (statement.kind) {
    case Statement::Kind::data:
      write(statement.text);
      break;
    case Statement::Kind::output:
      write(to_str(evaluate(*statement.expression, scope), machine_.budget()));
      break;
    case Statement::Kind::condition:
      return condition(statement, scope);
    case Statement::Kind::loop:
      loop(statement, scope, evaluate(*statement.expression, scope), 1);
      break;
    case Statement::Kind::assign:
      assign(*statement.target, evaluate(*statement.expression, scope), scope);
      break;
    case Statement::Kind::capture: {
      Value text = Value::text(capture(statement.body, inside(scope)));
      if (statement.expression) text = filtered(*statement.expression, &text, scope);
      assign(*statement.target, std::move(text), scope);
      break;
    }
    case Statement::Kind::macro:
      bind_macro(statement, scope);
      break;
    case Statement::Kind::call:
      call_block(statement, scope);
      break;
    case Statement::Kind::filter: {
      const Value text = Value::text(capture(statement.body, inside(scope)));
      write(to_str(filtered(*statement.expression, &text, scope), machine_.budget()));
      break;
    }
    case Statement::Kind::generation:
      generation(statement, scope);
      break;
    case Statement::Kind::scope:
      with(statement, scope);
      break;
    case Statement::Kind::leave:
      return Flow::leave;
    case Statement::Kind::proceed:
      return Flow::proceed;
  }
  return Flow::next;
}

Renderer::Flow Renderer::condition(const Statement& statement, const ScopePointer& scope) {
  for (const auto& [test, body] : statement.branches) {
    if (truth(evaluate(*test, scope))) return execute(body, scope);
  }
  return execute(statement.otherwise, scope);
}

void Renderer::loop(const Statement& statement, const ScopePointer& scope, const Value& items, int depth) {
  std::vector<Value> chosen = elements(items, machine_.budget());
  if (statement.condition) {
    std::vector<Value> all = std::exchange(chosen, {});
    for (Value& item : all) {
      const ScopePointer filter_scope = inside(scope);
      assign(*statement.target, item, filter_scope);
      if (truth(evaluate(*statement.condition, filter_scope))) chosen.push_back(std::move(item));
    }
  }
  if (chosen.empty()) {
    execute(statement.otherwise, inside(scope));
    return;
  }
  machine_.budget().memory(chosen.size() * sizeof(Value) + sizeof(Loop));
  const auto loop =
      std::make_shared<Loop>(*this, statement, statement.recursive ? scope : nullptr, std::move(chosen), depth);
  if (statement.recursive) machine_.keep(loop);
  for (std::size_t place = 0; place < loop->items().size(); ++place) {
    machine_.budget().memory(sizeof(Scope));
    loop->move_to(place);
    const ScopePointer iteration = inside(scope);
    iteration->set("loop", Value(Value::Data(std::shared_ptr<Object>(loop))));
    assign(*statement.target, loop->items()[place], iteration);
    if (execute(statement.body, iteration) == Flow::leave) break;
  }
}

Value Renderer::repeat_loop(const Statement& statement, const ScopePointer& scope, const Value& items, int depth) {
  const int line = line_;
  std::string text;
  std::string* const before = std::exchange(out_, &text);
  loop(statement, scope, items, depth);
  out_ = before;
  line_ = line;
  machine_.budget().memory(text.size());
  return Value::text(std::move(text));
}

Value Renderer::macro_value(const Statement& statement, const ScopePointer& scope) {
  machine_.budget().memory(sizeof(Macro));
  auto macro = std::make_shared<Macro>(*this, statement, scope);
  machine_.keep(macro);
  return Value(Value::Data(std::shared_ptr<Object>(std::move(macro))));
}

void Renderer::bind_macro(const Statement& statement, const ScopePointer& scope) {
  scope->set(statement.text, macro_value(statement, scope));
}

void Renderer::bind_parameters(const Statement& macro, Scope& scope, Arguments& arguments) {
  const auto& parameters = macro.parameters;
  std::vector<Value> rest;
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i < parameters.size()) {
      scope.set(parameters[i].name, std::move(arguments.positional[i]));
    } else {
      rest.push_back(std::move(arguments.positional[i]));
    }
  }
  if (!rest.empty() && !macro.uses_rest)
    fail(Fault::value, "macro '{}' takes not more than {} argument(s)", macro.text, parameters.size());
  Dict keywords;
  std::optional<Value> caller;
  for (auto& [name, value] : arguments.keyword) {
    const auto same = [&name = name](const Parameter& parameter) { return parameter.name == name; };
    const auto known = std::find_if(parameters.begin(), parameters.end(), same);
    if (known != parameters.end()) {
      if (static_cast<std::size_t>(known - parameters.begin()) < arguments.positional.size())
        fail(Fault::value, "macro '{}' got argument '{}' twice", macro.text, name);
      scope.set(name, std::move(value));
    } else if (name == "caller" && macro.uses_caller) {
      caller = std::move(value);
    } else if (macro.uses_keywords) {
      keywords.set(Value::text(name), std::move(value), machine_.budget());
    } else {
      fail(Fault::value, "macro '{}' takes no keyword argument '{}'", macro.text, name);
    }
  }
  if (macro.uses_caller) scope.set("caller", caller ? *caller : Value::undefined("No caller defined"));
  if (macro.uses_keywords) scope.set("kwargs", Value::dict(std::move(keywords)));
  if (macro.uses_rest) scope.set("varargs", Value::sequence(Flavor::tuple, std::move(rest), machine_.budget()));
}

Value Renderer::call_macro(const Statement& macro, const ScopePointer& defined_in, Arguments arguments) {
  const int line = line_;
  const ScopePointer scope = inside(defined_in);
  bind_parameters(macro, *scope, arguments);
  for (const Parameter& parameter : macro.parameters) {
    const auto bound = [&parameter](const auto& entry) { return entry.first == parameter.name; };
    if (std::any_of(scope->names.begin(), scope->names.end(), bound)) continue;
    scope->set(parameter.name, parameter.fallback
                                   ? evaluate(*parameter.fallback, scope)
                                   : Value::undefined(fmt::format("parameter '{}' was not provided", parameter.name)));
  }
  Value text = Value::text(capture(macro.body, scope));
  line_ = line;
  return text;
}

void Renderer::call_block(const Statement& statement, const ScopePointer& scope) {
  const Expression& node = *statement.expression;
  const Value function = evaluate(*node.children[0], scope);
  Arguments given = arguments(node.arguments, scope);
  given.keyword.emplace_back("caller", macro_value(statement, scope));
  write(to_str(machine_.call(function, std::move(given)), machine_.budget()));
}

void Renderer::generation(const Statement& statement, const ScopePointer& scope) {
  const std::size_t begin = out_->size();
  execute(statement.body, inside(scope));
  if (out_ == &root_) {
    rendered_.generation_spans.push_back({begin, out_->size()});
  } else {
    rendered_.all_generation_known = false;
  }
}

void Renderer::with(const Statement& statement, const ScopePointer& scope) {
  const ScopePointer inner = inside(scope);
  for (const auto& [target, value] : statement.assignments) assign(*target, evaluate(*value, scope), inner);
  execute(statement.body, inner);
}

void Renderer::assign(const Expression& target, Value value, const ScopePointer& scope) {
  if (target.kind == Expression::Kind::name) {
    scope->set(target.name, std::move(value));
  } else if (target.kind == Expression::Kind::field) {
    const Value owner = name(target, *scope);
    auto* fields = dynamic_cast<Namespace*>(owner.as_object());
    if (!fields) fail(Fault::value, "cannot assign attribute on non-namespace object");
    fields->set(target.operators[0], std::move(value), machine_.budget());
  } else {
    const std::vector<Value> parts = elements(value, machine_.budget());
    if (parts.size() != target.children.size())
      fail(Fault::value, "{} values to unpack, expected {}", parts.size(), target.children.size());
    for (std::size_t i = 0; i < parts.size(); ++i) assign(*target.children[i], parts[i], scope);
  }
}

}  // namespace lorica::jinja
