// Tokens to a tree. Source: https://jinja.palletsprojects.com/en/stable/templates/
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/lexer.hpp"
#include "jinja/syntax_tree.hpp"

namespace lorica::jinja {

/// The tokens, and where among them the parser stands.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool is_sign(std::string_view text) const { return current().kind == Token::Kind::sign && current().text == text; }
  bool is_name(std::string_view text) const { return current().kind == Token::Kind::name && current().text == text; }
  bool is(Token::Kind kind) const { return current().kind == kind; }
  bool skip_sign(std::string_view text) { return is_sign(text) && (next(), true); }
  bool skip_name(std::string_view text) { return is_name(text) && (next(), true); }
  void expect_sign(std::string_view text);
  void expect_name(std::string_view text);
  void expect(Token::Kind kind);
  std::string name();
  int line() const { return current().line; }
  [[noreturn]] void refuse(const std::string& message) const { throw SyntaxFailure{line(), message}; }
  [[noreturn]] void refuse_token(std::string_view expected) const;

 private:
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

/// Expressions deeper than this are refused: they are walked and freed by recursion.
constexpr int kMaxHeight = 120;

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  ExpressionPointer expression(bool with_condition = true);
  /// a, b, c without parentheses, or a single expression.
  ExpressionPointer tuple(bool with_condition = true, std::string_view end_name = "");
  ExpressionPointer unary(bool with_filter = true);
  /// The left side of an assignment or loop; `fields` allows namespace.name.
  ExpressionPointer target(bool fields);
  /// | a | b …, or for a filter block a | b … with an empty `value`.
  ExpressionPointer filters(ExpressionPointer value, bool inline_start);
  /// Every name that was read since the last call.
  std::set<std::string> take_names() { return std::exchange(names_, {}); }
  void add_names(const std::set<std::string>& names) { names_.insert(names.begin(), names.end()); }

 private:
  using Kind = Expression::Kind;
  ExpressionPointer make(Kind kind, int line, std::vector<ExpressionPointer> children, std::string name = "");
  ExpressionPointer conditional();
  ExpressionPointer disjunction();
  ExpressionPointer conjunction();
  ExpressionPointer inversion();
  ExpressionPointer comparison();
  ExpressionPointer sum();
  ExpressionPointer concatenation();
  ExpressionPointer product();
  ExpressionPointer power();
  ExpressionPointer primary();
  ExpressionPointer word();
  ExpressionPointer parenthesized();
  ExpressionPointer list();
  ExpressionPointer dict();
  ExpressionPointer postfix(ExpressionPointer value);
  ExpressionPointer postfix_and_filters(ExpressionPointer value);
  ExpressionPointer subscript(ExpressionPointer value);
  ExpressionPointer subscript_part();
  ExpressionPointer call(ExpressionPointer value);
  ExpressionPointer filter(ExpressionPointer value);
  ExpressionPointer test(ExpressionPointer value);
  CallArguments arguments();
  std::string dotted_name();
  bool at_tuple_end(std::string_view end_name) const;

  TokenStream& tokens_;
  std::set<std::string> names_;
  int depth_ = 0;
};

/// Throws SyntaxFailure.
Body parse(std::vector<Token> tokens);

}  // namespace lorica::jinja
