// The grammar of expressions.
#include <algorithm>

#include <fmt/format.h>

#include "jinja/parser.hpp"

namespace lorica::jinja {
namespace {

constexpr int kMaxNesting = 60;  // of parentheses and operators that begin an expression: each is a dozen calls deep

class Nesting {
 public:
  Nesting(int& depth, const TokenStream& tokens) : depth_(depth) {
    if (++depth_ > kMaxNesting) {
      --depth_;
      tokens.refuse(fmt::format("expressions nest deeper than {} levels", kMaxNesting));
    }
  }
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  int& depth_;
};

std::vector<ExpressionPointer> nodes(ExpressionPointer a) {
  std::vector<ExpressionPointer> list;
  list.push_back(std::move(a));
  return list;
}

std::vector<ExpressionPointer> nodes(ExpressionPointer a, ExpressionPointer b) {
  std::vector<ExpressionPointer> list = nodes(std::move(a));
  list.push_back(std::move(b));
  return list;
}

}  // namespace

void TokenStream::refuse_token(std::string_view expected) const {
  const Token& token = current();
  switch (token.kind) {
    case Token::Kind::end:
      refuse(fmt::format("unexpected end of the template, expected {}", expected));
    case Token::Kind::block_end:
    case Token::Kind::variable_end:
      refuse(fmt::format("unexpected end of the tag, expected {}", expected));
    default:
      refuse(fmt::format("unexpected '{}', expected {}", token.text, expected));
  }
}

void TokenStream::expect_sign(std::string_view text) {
  if (!skip_sign(text)) refuse_token(fmt::format("'{}'", text));
}

void TokenStream::expect_name(std::string_view text) {
  if (!skip_name(text)) refuse_token(fmt::format("'{}'", text));
}

void TokenStream::expect(Token::Kind kind) {
  if (!is(kind)) refuse_token(kind == Token::Kind::block_end ? "%}" : "}}");
  next();
}

std::string TokenStream::name() {
  if (!is(Token::Kind::name)) refuse_token("a name");
  return next().text;
}

ExpressionPointer ExpressionParser::make(Kind kind, int line, std::vector<ExpressionPointer> children,
                                         std::string name) {
  auto node = std::make_unique<Expression>(Expression{.kind = kind, .line = line, .name = std::move(name)});
  for (const ExpressionPointer& child : children) {
    if (child) node->height = std::max(node->height, child->height + 1);
  }
  node->children = std::move(children);
  if (node->height > kMaxHeight)
    throw SyntaxFailure{line, fmt::format("an expression of more than {} levels", kMaxHeight)};
  return node;
}

ExpressionPointer ExpressionParser::expression(bool with_condition) {
  const Nesting nesting(depth_, tokens_);
  return with_condition ? conditional() : disjunction();
}

ExpressionPointer ExpressionParser::conditional() {
  ExpressionPointer value = disjunction();
  while (tokens_.is_name("if")) {
    const int line = tokens_.next().line;
    std::vector<ExpressionPointer> parts = nodes(std::move(value), disjunction());
    parts.push_back(tokens_.skip_name("else") ? expression() : nullptr);
    value = make(Kind::conditional, line, std::move(parts));
  }
  return value;
}

ExpressionPointer ExpressionParser::disjunction() {
  ExpressionPointer left = conjunction();
  while (tokens_.is_name("or")) {
    const int line = tokens_.next().line;
    left = make(Kind::either, line, nodes(std::move(left), conjunction()));
  }
  return left;
}

ExpressionPointer ExpressionParser::conjunction() {
  ExpressionPointer left = inversion();
  while (tokens_.is_name("and")) {
    const int line = tokens_.next().line;
    left = make(Kind::both, line, nodes(std::move(left), inversion()));
  }
  return left;
}

ExpressionPointer ExpressionParser::inversion() {
  if (!tokens_.is_name("not")) return comparison();
  const Nesting nesting(depth_, tokens_);
  const int line = tokens_.next().line;
  return make(Kind::invert, line, nodes(inversion()));
}

ExpressionPointer ExpressionParser::comparison() {
  constexpr std::array<std::string_view, 6> kSigns = {"==", "!=", "<=", ">=", "<", ">"};
  const int line = tokens_.line();
  std::vector<ExpressionPointer> operands = nodes(sum());
  std::vector<std::string> operators;
  while (true) {
    const Token& token = tokens_.current();
    if (token.kind == Token::Kind::sign && std::find(kSigns.begin(), kSigns.end(), token.text) != kSigns.end()) {
      operators.push_back(tokens_.next().text);
    } else if (tokens_.skip_name("in")) {
      operators.emplace_back("in");
    } else if (tokens_.is_name("not") && tokens_.ahead().kind == Token::Kind::name && tokens_.ahead().text == "in") {
      tokens_.next();
      tokens_.next();
      operators.emplace_back("not in");
    } else {
      break;
    }
    operands.push_back(sum());
  }
  if (operators.empty()) return std::move(operands[0]);
  ExpressionPointer node = make(Kind::compare, line, std::move(operands));
  node->operators = std::move(operators);
  return node;
}

ExpressionPointer ExpressionParser::sum() {
  ExpressionPointer left = concatenation();
  while (tokens_.is_sign("+") || tokens_.is_sign("-")) {
    const Token sign = tokens_.next();
    left = make(Kind::binary, sign.line, nodes(std::move(left), concatenation()), sign.text);
  }
  return left;
}

ExpressionPointer ExpressionParser::concatenation() {
  const int line = tokens_.line();
  std::vector<ExpressionPointer> parts = nodes(product());
  while (tokens_.skip_sign("~")) parts.push_back(product());
  return parts.size() == 1 ? std::move(parts[0]) : make(Kind::concat, line, std::move(parts));
}

ExpressionPointer ExpressionParser::product() {
  ExpressionPointer left = power();
  while (tokens_.is_sign("*") || tokens_.is_sign("/") || tokens_.is_sign("//") || tokens_.is_sign("%")) {
    const Token sign = tokens_.next();
    left = make(Kind::binary, sign.line, nodes(std::move(left), power()), sign.text);
  }
  return left;
}

ExpressionPointer ExpressionParser::power() {
  ExpressionPointer left = unary();
  while (tokens_.is_sign("**")) {
    const int line = tokens_.next().line;
    left = make(Kind::binary, line, nodes(std::move(left), unary()), "**");
  }
  return left;
}

ExpressionPointer ExpressionParser::unary(bool with_filter) {
  const Nesting nesting(depth_, tokens_);
  const int line = tokens_.line();
  ExpressionPointer value;
  if (tokens_.skip_sign("-")) {
    value = make(Kind::negative, line, nodes(unary(false)));
  } else if (tokens_.skip_sign("+")) {
    value = make(Kind::positive, line, nodes(unary(false)));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filter ? postfix_and_filters(std::move(value)) : std::move(value);
}

ExpressionPointer ExpressionParser::primary() {
  const Token& token = tokens_.current();
  switch (token.kind) {
    case Token::Kind::name:
      return word();
    case Token::Kind::string: {
      ExpressionPointer node = make(Kind::constant, token.line, {});
      std::string text;
      while (tokens_.is(Token::Kind::string)) text += tokens_.next().text;
      node->value = Value::text(std::move(text));
      return node;
    }
    case Token::Kind::number: {
      ExpressionPointer node = make(Kind::constant, token.line, {});
      node->value = tokens_.next().number;
      return node;
    }
    default:
      break;
  }
  if (tokens_.is_sign("(")) return parenthesized();
  if (tokens_.is_sign("[")) return list();
  if (tokens_.is_sign("{")) return dict();
  tokens_.refuse_token("an expression");
}

ExpressionPointer ExpressionParser::word() {
  const Token token = tokens_.next();
  const std::string& text = token.text;
  ExpressionPointer node = make(Kind::constant, token.line, {});
  if (text == "true" || text == "True" || text == "false" || text == "False") {
    node->value = Value::boolean(text == "true" || text == "True");
  } else if (text != "none" && text != "None") {
    node->kind = Kind::name;
    node->name = text;
    names_.insert(text);
  }
  return node;
}

ExpressionPointer ExpressionParser::parenthesized() {
  const int line = tokens_.next().line;
  if (tokens_.skip_sign(")")) return make(Kind::tuple, line, {});
  ExpressionPointer value = tuple();
  tokens_.expect_sign(")");
  return value;
}

ExpressionPointer ExpressionParser::list() {
  const int line = tokens_.next().line;
  std::vector<ExpressionPointer> items;
  while (!tokens_.is_sign("]")) {
    if (!items.empty()) tokens_.expect_sign(",");
    if (tokens_.is_sign("]")) break;
    items.push_back(expression());
  }
  tokens_.expect_sign("]");
  return make(Kind::list, line, std::move(items));
}

ExpressionPointer ExpressionParser::dict() {
  const int line = tokens_.next().line;
  std::vector<ExpressionPointer> items;
  while (!tokens_.is_sign("}")) {
    if (!items.empty()) tokens_.expect_sign(",");
    if (tokens_.is_sign("}")) break;
    items.push_back(expression());
    tokens_.expect_sign(":");
    items.push_back(expression());
  }
  tokens_.expect_sign("}");
  return make(Kind::dict, line, std::move(items));
}

bool ExpressionParser::at_tuple_end(std::string_view end_name) const {
  return tokens_.is(Token::Kind::variable_end) || tokens_.is(Token::Kind::block_end) || tokens_.is_sign(")") ||
         (!end_name.empty() && tokens_.is_name(end_name));
}

ExpressionPointer ExpressionParser::tuple(bool with_condition, std::string_view end_name) {
  const int line = tokens_.line();
  std::vector<ExpressionPointer> items;
  bool comma = false;
  while (true) {
    if (!items.empty()) {
      if (!tokens_.skip_sign(",")) break;
      comma = true;
    }
    if (at_tuple_end(end_name)) break;
    items.push_back(expression(with_condition));
  }
  if (items.empty()) tokens_.refuse_token("an expression");
  return comma ? make(Kind::tuple, line, std::move(items)) : std::move(items[0]);
}

ExpressionPointer ExpressionParser::target(bool fields) {
  const int line = tokens_.line();
  std::vector<ExpressionPointer> items;
  bool comma = false;
  while (true) {
    if (!items.empty()) {
      if (!tokens_.skip_sign(",")) break;
      comma = true;
      if (tokens_.is_name("in") || tokens_.is_sign("=") || tokens_.is_sign(")")) break;
    }
    if (tokens_.skip_sign("(")) {
      const Nesting nesting(depth_, tokens_);
      items.push_back(target(fields));
      tokens_.expect_sign(")");
      continue;
    }
    const Token token = tokens_.current();
    const std::string name = tokens_.name();
    for (const std::string_view word : {"true", "True", "false", "False", "none", "None"}) {
      if (name == word) throw SyntaxFailure{token.line, fmt::format("'{}' can't be assigned to", name)};
    }
    items.push_back(make(Kind::name, token.line, {}, name));
    if (fields && tokens_.skip_sign(".")) {
      items.back()->kind = Kind::field;
      items.back()->operators.push_back(tokens_.name());
      names_.insert(name);
    }
  }
  return comma ? make(Kind::tuple, line, std::move(items)) : std::move(items[0]);
}

ExpressionPointer ExpressionParser::postfix(ExpressionPointer value) {
  while (true) {
    const int line = tokens_.line();
    if (tokens_.skip_sign(".")) {
      if (tokens_.is(Token::Kind::number)) {
        ExpressionPointer index = make(Kind::constant, line, {});
        index->value = tokens_.next().number;
        value = make(Kind::item, line, nodes(std::move(value), std::move(index)));
      } else {
        value = make(Kind::attribute, line, nodes(std::move(value)), tokens_.name());
      }
    } else if (tokens_.is_sign("[")) {
      value = subscript(std::move(value));
    } else if (tokens_.is_sign("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
  }
}

ExpressionPointer ExpressionParser::postfix_and_filters(ExpressionPointer value) {
  while (true) {
    if (tokens_.is_sign("|")) {
      tokens_.next();
      value = filter(std::move(value));
    } else if (tokens_.is_name("is")) {
      value = test(std::move(value));
    } else if (tokens_.is_sign("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
  }
}

ExpressionPointer ExpressionParser::subscript(ExpressionPointer value) {
  const int line = tokens_.next().line;
  std::vector<ExpressionPointer> parts;
  bool comma = false;
  while (!tokens_.is_sign("]")) {
    if (!parts.empty()) {
      tokens_.expect_sign(",");
      comma = true;
    }
    parts.push_back(subscript_part());
  }
  if (parts.empty()) tokens_.refuse_token("an index");
  tokens_.expect_sign("]");
  ExpressionPointer index = comma ? make(Kind::tuple, line, std::move(parts)) : std::move(parts[0]);
  return make(Kind::item, line, nodes(std::move(value), std::move(index)));
}

ExpressionPointer ExpressionParser::subscript_part() {
  const int line = tokens_.line();
  std::vector<ExpressionPointer> parts;
  const auto part = [this]() -> ExpressionPointer {
    return tokens_.is_sign(":") || tokens_.is_sign("]") || tokens_.is_sign(",") ? nullptr : expression();
  };
  parts.push_back(part());
  if (!tokens_.is_sign(":")) {
    if (!parts[0]) tokens_.refuse_token("an index");
    return std::move(parts[0]);
  }
  tokens_.next();
  parts.push_back(part());
  parts.push_back(tokens_.skip_sign(":") ? part() : nullptr);
  return make(Kind::slice, line, std::move(parts));
}

CallArguments ExpressionParser::arguments() {
  CallArguments result;
  tokens_.expect_sign("(");
  bool first = true;
  while (!tokens_.is_sign(")")) {
    if (!first) tokens_.expect_sign(",");
    first = false;
    if (tokens_.is_sign(")")) break;
    if (tokens_.skip_sign("**")) {
      if (result.mapping) tokens_.refuse("a call takes one ** argument");
      result.mapping = expression();
    } else if (tokens_.skip_sign("*")) {
      if (result.sequence || result.mapping) tokens_.refuse("a call takes one * argument, before **");
      result.sequence = expression();
    } else if (tokens_.is(Token::Kind::name) && tokens_.ahead().kind == Token::Kind::sign &&
               tokens_.ahead().text == "=") {
      if (result.mapping) tokens_.refuse("an argument stands behind **");
      const std::string name = tokens_.name();
      tokens_.next();
      result.keyword.emplace_back(name, expression());
    } else {
      if (!result.keyword.empty() || result.sequence || result.mapping)
        tokens_.refuse("an argument without a name stands behind one with a name");
      result.positional.push_back(expression());
    }
  }
  tokens_.expect_sign(")");
  return result;
}

ExpressionPointer ExpressionParser::call(ExpressionPointer value) {
  const int line = tokens_.line();
  ExpressionPointer node = make(Kind::call, line, nodes(std::move(value)));
  node->arguments = arguments();
  return node;
}

std::string ExpressionParser::dotted_name() {
  std::string name = tokens_.name();
  while (tokens_.skip_sign(".")) name += "." + tokens_.name();
  return name;
}

ExpressionPointer ExpressionParser::filter(ExpressionPointer value) {
  const int line = tokens_.line();
  const std::string name = dotted_name();
  ExpressionPointer node = make(Kind::filter, line, nodes(std::move(value)), name);
  if (tokens_.is_sign("(")) node->arguments = arguments();
  return node;
}

ExpressionPointer ExpressionParser::filters(ExpressionPointer value, bool inline_start) {
  if (inline_start) value = filter(std::move(value));
  while (tokens_.skip_sign("|")) value = filter(std::move(value));
  return value;
}

ExpressionPointer ExpressionParser::test(ExpressionPointer value) {
  const int line = tokens_.next().line;
  const bool negated = tokens_.skip_name("not");
  const std::string name = dotted_name();
  ExpressionPointer node = make(Kind::test, line, nodes(std::move(value)), name);
  const Token& token = tokens_.current();
  const bool word =
      token.kind == Token::Kind::name && token.text != "else" && token.text != "or" && token.text != "and";
  if (tokens_.is_sign("(")) {
    node->arguments = arguments();
  } else if (word || token.kind == Token::Kind::string || token.kind == Token::Kind::number || tokens_.is_sign("[") ||
             tokens_.is_sign("{")) {
    if (tokens_.is_name("is")) tokens_.refuse("tests can't be chained: a is b is c");
    ExpressionPointer argument = postfix(primary());
    node->arguments.positional.push_back(std::move(argument));
  }
  return negated ? make(Kind::invert, line, nodes(std::move(node))) : std::move(node);
}

}  // namespace lorica::jinja
