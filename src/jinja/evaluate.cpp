// The value of an expression.
#include "jinja/operations.hpp"
#include "jinja/renderer.hpp"

namespace lorica::jinja {

Value Renderer::evaluate(const Expression& node, const ScopePointer& scope) {
  const Budget::Level level(machine_.budget());
  machine_.budget().step();
  line_ = node.line;
  return evaluate_kind(node, scope);
}

Value Renderer::evaluate_kind(const Expression& node, const ScopePointer& scope) {
  const auto child = [&](std::size_t place) { return evaluate(*node.children[place], scope); };
  Budget& budget = machine_.budget();
  switch (node.kind) {
    case Expression::Kind::constant:
      return node.value;
    case Expression::Kind::name:
      return name(node, *scope);
    case Expression::Kind::list:
    case Expression::Kind::tuple:
      return collection(node, scope);
    case Expression::Kind::dict:
      return dictionary(node, scope);
    case Expression::Kind::attribute:
      return attribute(child(0), node.name, budget);
    case Expression::Kind::item:
      return subscript(node, scope);
    case Expression::Kind::call:
      return call(node, scope);
    case Expression::Kind::filter:
      return filtered(node, nullptr, scope);
    case Expression::Kind::test:
      return Value::boolean(machine_.test(node.name, child(0), arguments(node.arguments, scope)));
    case Expression::Kind::negative:
      return negative(child(0));
    case Expression::Kind::positive:
      return positive(child(0));
    case Expression::Kind::invert:
      return Value::boolean(!truth(child(0)));
    case Expression::Kind::binary: {
      const Value left = child(0);
      return binary(node.name, left, child(1), machine_);
    }
    case Expression::Kind::compare:
      return comparison(node, scope);
    case Expression::Kind::both: {
      Value left = child(0);
      return truth(left) ? child(1) : left;
    }
    case Expression::Kind::either: {
      Value left = child(0);
      return truth(left) ? left : child(1);
    }
    case Expression::Kind::concat:
      return concatenation(node, scope);
    case Expression::Kind::conditional:
      return conditional(node, scope);
    case Expression::Kind::slice:
      fail(Fault::value, "a slice among several indices isn't supported");
    case Expression::Kind::field:
      break;
  }
  fail(Fault::syntax, "this can't be evaluated");
}

Value Renderer::name(const Expression& node, const Scope& scope) {
  if (const Value* found = scope.find(node.name)) return *found;
  if (const Value* found = context_.find(node.name)) return *found;
  if (const Value* found = global(node.name)) return *found;
  return Value::undefined(fmt::format("'{}' is undefined", node.name));
}

Value Renderer::collection(const Expression& node, const ScopePointer& scope) {
  std::vector<Value> items;
  for (const ExpressionPointer& child : node.children) items.push_back(evaluate(*child, scope));
  const Flavor flavor = node.kind == Expression::Kind::list ? Flavor::list : Flavor::tuple;
  return Value::sequence(flavor, std::move(items), machine_.budget());
}

Value Renderer::dictionary(const Expression& node, const ScopePointer& scope) {
  Dict dict;
  for (std::size_t i = 0; i < node.children.size(); i += 2) {
    Value key = evaluate(*node.children[i], scope);
    dict.set(std::move(key), evaluate(*node.children[i + 1], scope), machine_.budget());
  }
  return Value::dict(std::move(dict));
}

Value Renderer::subscript(const Expression& node, const ScopePointer& scope) {
  const Value value = evaluate(*node.children[0], scope);
  const Expression& index = *node.children[1];
  if (index.kind != Expression::Kind::slice) return item(value, evaluate(index, scope), machine_.budget());
  std::vector<Value> bounds;
  for (const ExpressionPointer& child : index.children) bounds.push_back(child ? evaluate(*child, scope) : Value());
  return slice(value, bounds[0], bounds[1], bounds[2], machine_.budget());
}

Value Renderer::call(const Expression& node, const ScopePointer& scope) {
  const Value function = evaluate(*node.children[0], scope);
  Arguments given = arguments(node.arguments, scope);
  line_ = node.line;
  return machine_.call(function, std::move(given));
}

Value Renderer::comparison(const Expression& node, const ScopePointer& scope) {
  Value left = evaluate(*node.children[0], scope);
  for (std::size_t i = 0; i < node.operators.size(); ++i) {
    Value right = evaluate(*node.children[i + 1], scope);
    if (!relation(node.operators[i], left, right, machine_.budget())) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Renderer::conditional(const Expression& node, const ScopePointer& scope) {
  if (truth(evaluate(*node.children[1], scope))) return evaluate(*node.children[0], scope);
  if (node.children[2]) return evaluate(*node.children[2], scope);
  return Value::undefined(fmt::format(
      "the inline if-expression on line {} evaluated to false and no else section was defined.", node.line));
}

Value Renderer::concatenation(const Expression& node, const ScopePointer& scope) {
  std::string text;
  for (const ExpressionPointer& child : node.children) {
    const std::string part = to_str(evaluate(*child, scope), machine_.budget());
    machine_.budget().memory(part.size());
    text += part;
  }
  return Value::text(std::move(text));
}

Value Renderer::filtered(const Expression& node, const Value* input, const ScopePointer& scope) {
  const Expression* child = node.children[0].get();
  Value value;
  if (!child) {
    value = *input;
  } else {
    value = child->kind == Expression::Kind::filter ? filtered(*child, input, scope) : evaluate(*child, scope);
  }
  Arguments given = arguments(node.arguments, scope);
  line_ = node.line;
  return machine_.filter(node.name, value, std::move(given));
}

Arguments Renderer::arguments(const CallArguments& list, const ScopePointer& scope) {
  Arguments given;
  for (const ExpressionPointer& argument : list.positional) given.positional.push_back(evaluate(*argument, scope));
  if (list.sequence) {
    for (Value& value : elements(evaluate(*list.sequence, scope), machine_.budget()))
      given.positional.push_back(std::move(value));
  }
  for (const auto& [name, argument] : list.keyword) given.keyword.emplace_back(name, evaluate(*argument, scope));
  if (list.mapping) {
    const Value mapping = evaluate(*list.mapping, scope);
    require_defined(mapping);
    if (!mapping.as_dict()) fail(Fault::value, "argument after ** must be a mapping, not {}", type_name(mapping));
    for (const auto& [key, value] : mapping.as_dict()->entries()) {
      if (!key.as_text()) fail(Fault::value, "keywords must be strings");
      given.keyword.emplace_back(*key.as_text(), value);
    }
  }
  return given;
}

}  // namespace lorica::jinja
