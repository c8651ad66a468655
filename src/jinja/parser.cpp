#include "jinja/parser.hpp"

#include <algorithm>
#include <initializer_list>

#include <fmt/format.h>

namespace lorica::jinja {
namespace {

constexpr int kMaxBlocks = 60;  // of blocks in each other

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)), expressions_(tokens_) {}

  Body run() {
    Body body = block_body({});
    return body;
  }

 private:
  using Kind = Statement::Kind;
  using Ends = std::initializer_list<std::string_view>;

  /// Up to a tag of one of `ends`, whose name is the current token then; without `ends` up to the end of the template.
  Body block_body(Ends ends) {
    if (++depth_ > kMaxBlocks) tokens_.refuse(fmt::format("blocks nest deeper than {} levels", kMaxBlocks));
    Body body;
    while (true) {
      const int line = tokens_.line();
      if (tokens_.is(Token::Kind::data)) {
        body.push_back({.kind = Kind::data, .line = line, .text = tokens_.next().text});
      } else if (tokens_.is(Token::Kind::variable_begin)) {
        tokens_.next();
        body.push_back({.kind = Kind::output, .line = line, .expression = expressions_.tuple()});
        tokens_.expect(Token::Kind::variable_end);
      } else if (tokens_.is(Token::Kind::block_begin)) {
        tokens_.next();
        if (std::any_of(ends.begin(), ends.end(), [this](std::string_view end) { return tokens_.is_name(end); })) break;
        body.push_back(statement());
        tokens_.expect(Token::Kind::block_end);
      } else {
        if (ends.size() > 0)
          tokens_.refuse(fmt::format("unexpected end of the template: {} is missing", fmt::join(ends, " or ")));
        break;
      }
    }
    --depth_;
    return body;
  }

  /// Behind `%}` of the opening tag: the body and its end tag's name.
  Body closed_body(std::string_view end) {
    tokens_.expect(Token::Kind::block_end);
    Body body = block_body({end});
    tokens_.next();
    return body;
  }

  Statement statement() {
    const Token token = tokens_.current();
    const std::string word = tokens_.name();
    if (word == "if") return condition(token.line);
    if (word == "for") return loop(token.line);
    if (word == "set") return assignment(token.line);
    if (word == "macro") return macro(token.line);
    if (word == "call") return call_block(token.line);
    if (word == "filter") {
      Statement result{.kind = Kind::filter, .line = token.line, .expression = expressions_.filters(nullptr, true)};
      result.body = closed_body("endfilter");
      return result;
    }
    if (word == "generation") {
      Statement result{.kind = Kind::generation, .line = token.line};
      result.body = closed_body("endgeneration");
      return result;
    }
    if (word == "with") return scope(token.line);
    if (word == "break" || word == "continue") {
      if (loops_ == 0) throw SyntaxFailure{token.line, fmt::format("'{}' outside of a loop", word)};
      return {.kind = word == "break" ? Kind::leave : Kind::proceed, .line = token.line};
    }
    for (const std::string_view other : {"include", "import", "from", "extends", "block"}) {
      if (word == other)
        throw SyntaxFailure{token.line, fmt::format("'{}' isn't supported: a chat template stands alone", word)};
    }
    throw SyntaxFailure{token.line, fmt::format("unknown tag '{}'", word)};
  }

  Statement condition(int line) {
    Statement result{.kind = Kind::condition, .line = line};
    while (true) {
      ExpressionPointer test = expressions_.tuple(false);
      tokens_.expect(Token::Kind::block_end);
      result.branches.emplace_back(std::move(test), block_body({"elif", "else", "endif"}));
      if (!tokens_.skip_name("elif")) break;
    }
    if (tokens_.skip_name("else")) {
      tokens_.expect(Token::Kind::block_end);
      result.otherwise = block_body({"endif"});
    }
    tokens_.expect_name("endif");
    return result;
  }

  Statement loop(int line) {
    Statement result{.kind = Kind::loop, .line = line, .target = expressions_.target(false)};
    tokens_.expect_name("in");
    result.expression = expressions_.tuple(false, "recursive");
    if (tokens_.skip_name("if")) result.condition = expressions_.expression();
    result.recursive = tokens_.skip_name("recursive");
    tokens_.expect(Token::Kind::block_end);
    ++loops_;
    result.body = block_body({"endfor", "else"});
    --loops_;
    if (tokens_.skip_name("else")) {
      tokens_.expect(Token::Kind::block_end);
      result.otherwise = block_body({"endfor"});
    }
    tokens_.expect_name("endfor");
    return result;
  }

  Statement assignment(int line) {
    Statement result{.kind = Kind::assign, .line = line, .target = expressions_.target(true)};
    if (tokens_.skip_sign("=")) {
      result.expression = expressions_.tuple();
      return result;
    }
    result.kind = Kind::capture;
    if (tokens_.is_sign("|")) result.expression = expressions_.filters(nullptr, false);
    result.body = closed_body("endset");
    return result;
  }

  std::vector<Parameter> parameters() {
    std::vector<Parameter> list;
    tokens_.expect_sign("(");
    while (!tokens_.is_sign(")")) {
      if (!list.empty()) tokens_.expect_sign(",");
      if (tokens_.is_sign(")")) break;
      Parameter parameter{.name = tokens_.name(), .fallback = nullptr};
      if (tokens_.skip_sign("=")) {
        parameter.fallback = expressions_.expression();
      } else if (!list.empty() && list.back().fallback) {
        tokens_.refuse("a parameter without a default stands behind one that has one");
      }
      list.push_back(std::move(parameter));
    }
    tokens_.expect_sign(")");
    return list;
  }

  /// The body of a macro, and which of the special names it reads.
  void macro_body(Statement& result, std::string_view end) {
    const std::set<std::string> before = expressions_.take_names();
    const int loops = std::exchange(loops_, 0);
    result.body = closed_body(end);
    loops_ = loops;
    const std::set<std::string> names = expressions_.take_names();
    result.uses_caller = names.contains("caller");
    result.uses_keywords = names.contains("kwargs");
    result.uses_rest = names.contains("varargs");
    expressions_.add_names(before);
    expressions_.add_names(names);
  }

  Statement macro(int line) {
    Statement result{.kind = Kind::macro, .line = line, .text = tokens_.name()};
    result.parameters = parameters();
    macro_body(result, "endmacro");
    return result;
  }

  Statement call_block(int line) {
    Statement result{.kind = Kind::call, .line = line};
    if (tokens_.is_sign("(")) result.parameters = parameters();
    result.expression = expressions_.expression();
    if (result.expression->kind != Expression::Kind::call)
      throw SyntaxFailure{line, "'call' needs a call: {% call f() %}"};
    macro_body(result, "endcall");
    return result;
  }

  Statement scope(int line) {
    Statement result{.kind = Kind::scope, .line = line};
    while (!tokens_.is(Token::Kind::block_end)) {
      if (!result.assignments.empty()) tokens_.expect_sign(",");
      const Token token = tokens_.current();
      const std::string name = tokens_.name();
      tokens_.expect_sign("=");
      auto target =
          std::make_unique<Expression>(Expression{.kind = Expression::Kind::name, .line = token.line, .name = name});
      result.assignments.emplace_back(std::move(target), expressions_.expression());
    }
    result.body = closed_body("endwith");
    return result;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

Body parse(std::vector<Token> tokens) {
  return Parser(std::move(tokens)).run();
}

}  // namespace lorica::jinja
