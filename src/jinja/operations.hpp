// Operators, attributes and items of values.
// Sources: https://docs.python.org/3/reference/expressions.html,
// https://jinja.palletsprojects.com/en/stable/templates/#variables
#pragma once

#include <string_view>
#include <vector>

#include "jinja/machine.hpp"
#include "jinja/value.hpp"

namespace lorica::jinja {

/// + - * / // % **; whole numbers that leave 64 bits are an error.
Value binary(std::string_view sign, const Value& a, const Value& b, Machine& machine);
Value negative(const Value& value);
Value positive(const Value& value);
/// == != < <= > >= in, not in.
bool relation(std::string_view sign, const Value& a, const Value& b, Budget& budget);
/// Joins the texts of all; if one is markup, the others are escaped.
Value join(const std::vector<Value>& parts, std::string_view separator, Budget& budget);

/// value.name: a method, or else the item of that name, or undefined.
Value attribute(const Value& value, std::string_view name, Budget& budget);
/// value[index]: the item, or else the method of that name, or undefined.
Value item(const Value& value, const Value& index, Budget& budget);
/// value[start:stop:step]; each None if it is missing.
Value slice(const Value& value, const Value& start, const Value& stop, const Value& step, Budget& budget);

}  // namespace lorica::jinja
