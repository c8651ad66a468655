// A parsed template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "jinja/value.hpp"

namespace lorica::jinja {

struct Expression;
using ExpressionPointer = std::unique_ptr<Expression>;

struct CallArguments {
  std::vector<ExpressionPointer> positional;
  std::vector<std::pair<std::string, ExpressionPointer>> keyword;
  ExpressionPointer sequence, mapping;  ///< *arguments, **arguments
};

struct Expression {
  enum class Kind {
    constant,     // value
    name,         // name
    list,         // children
    tuple,        // children
    dict,         // children: key, value, key, value
    attribute,    // child . name
    item,         // child [ child ]
    slice,        // the index of an item: start, stop, step, each may be missing
    call,         // child ( arguments )
    filter,       // child | name ( arguments ); without child in a filter block
    test,         // child is name ( arguments )
    negative,     // - child
    positive,     // + child
    invert,       // not child
    binary,       // child name child
    compare,      // child operators[0] child operators[1] child …
    both,         // child and child
    either,       // child or child
    concat,       // child ~ child ~ …
    conditional,  // child[0] if child[1] else child[2], which may be missing
    field         // name.operators[0]: only as a target of set
  };
  Kind kind;
  int line;
  std::string name = {};
  Value value = {};
  std::vector<ExpressionPointer> children = {};
  std::vector<std::string> operators = {};
  CallArguments arguments = {};
  int height = 1;
};

struct Statement;
using Body = std::vector<Statement>;

struct Parameter {
  std::string name;
  ExpressionPointer fallback;  ///< may be missing
};

struct Statement {
  enum class Kind {
    data,        // text
    output,      // expression
    condition,   // branches, otherwise
    loop,        // target in expression if condition; body, otherwise
    assign,      // target = expression
    capture,     // target = body through the filters of expression
    macro,       // name(parameters) body
    call,        // expression is called with body as caller(parameters)
    filter,      // body through the filters of expression
    generation,  // body
    scope,       // with: assignments, body
    leave,       // break
    proceed      // continue
  };
  Kind kind;
  int line;
  std::string text = {};
  ExpressionPointer target = {}, expression = {}, condition = {};
  std::vector<std::pair<ExpressionPointer, Body>> branches = {};
  std::vector<std::pair<ExpressionPointer, ExpressionPointer>> assignments = {};
  std::vector<Parameter> parameters = {};
  Body body = {}, otherwise = {};
  bool recursive = false;
  bool uses_caller = false, uses_keywords = false,
       uses_rest = false;  ///< of a macro: which of its special names it reads
};

}  // namespace lorica::jinja
