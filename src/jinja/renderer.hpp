// Walks a parsed template.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/machine.hpp"
#include "jinja/syntax_tree.hpp"
#include "jinja/template.hpp"

namespace lorica::jinja {

/// Names and what they stand for, in front of those of `parent`.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> names;

  const Value* find(std::string_view name) const;
  void set(const std::string& name, Value value);
};

using ScopePointer = std::shared_ptr<Scope>;

class Renderer {
 public:
  Renderer(Machine& machine, const Dict& context) : machine_(machine), context_(context) {}

  /// Throws Failure; line() says where it stood then.
  Rendered run(const Body& body);
  int line() const { return line_; }

  Value call_macro(const Statement& macro, const ScopePointer& defined_in, Arguments arguments);
  /// What the loop gives for other elements: loop(…) in a recursive one.
  Value repeat_loop(const Statement& loop, const ScopePointer& scope, const Value& items, int depth);

 private:
  enum class Flow { next, leave, proceed };

  Flow execute(const Body& body, const ScopePointer& scope);
  Flow execute(const Statement& statement, const ScopePointer& scope);
  Flow condition(const Statement& statement, const ScopePointer& scope);
  void loop(const Statement& statement, const ScopePointer& scope, const Value& items, int depth);
  void bind_macro(const Statement& statement, const ScopePointer& scope);
  void call_block(const Statement& statement, const ScopePointer& scope);
  void generation(const Statement& statement, const ScopePointer& scope);
  void with(const Statement& statement, const ScopePointer& scope);
  void assign(const Expression& target, Value value, const ScopePointer& scope);
  std::string capture(const Body& body, const ScopePointer& scope);
  void write(std::string_view text);
  Value macro_value(const Statement& statement, const ScopePointer& scope);
  void bind_parameters(const Statement& macro, Scope& scope, Arguments& arguments);

  Value evaluate(const Expression& node, const ScopePointer& scope);
  Value evaluate_kind(const Expression& node, const ScopePointer& scope);
  Value name(const Expression& node, const Scope& scope);
  Value collection(const Expression& node, const ScopePointer& scope);
  Value dictionary(const Expression& node, const ScopePointer& scope);
  Value subscript(const Expression& node, const ScopePointer& scope);
  Value call(const Expression& node, const ScopePointer& scope);
  Value comparison(const Expression& node, const ScopePointer& scope);
  Value conditional(const Expression& node, const ScopePointer& scope);
  Value concatenation(const Expression& node, const ScopePointer& scope);
  Value filtered(const Expression& node, const Value* input, const ScopePointer& scope);
  Arguments arguments(const CallArguments& list, const ScopePointer& scope);

  Machine& machine_;
  const Dict& context_;
  int line_ = 1;
  std::string root_;
  std::string* out_ = &root_;
  Rendered rendered_;
};

}  // namespace lorica::jinja
