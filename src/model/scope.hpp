// Named spans of work, for the profiler's traces (engine/recorder.hpp). While nobody records they cost a few tens of
// nanoseconds: they belong around blocks, operations and waits, not into loops over tokens.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>
#include <fmt/format.h>

#include <initializer_list>
#include <string_view>
#include <vector>

namespace lorica::model {

/// A part of a step, from construction to destruction: "optimizer", "layer 3: backward".
class Scope {
 public:
  explicit Scope(std::string_view name) : record_(at::RecordScope::USER_SCOPE) {
    if (!record_.isActive()) return;
    name_ = name;
    record_.before(std::string_view(name_));
  }
  /// The text is put together only if somebody records.
  template <class... Values>
  explicit Scope(fmt::format_string<Values...> text, Values&&... values) : record_(at::RecordScope::USER_SCOPE) {
    if (!record_.isActive()) return;
    name_ = fmt::format(text, std::forward<Values>(values)...);
    record_.before(std::string_view(name_));
  }

 private:
  std::string name_;
  at::RecordFunction record_;
};

/// One of our own operations, beside ATen's in a trace: "lorica::attention". `name` ends in a zero byte.
class Operation {
 public:
  /// `inputs`: those whose shapes tell how much work it is.
  Operation(std::string_view name, std::initializer_list<at::Tensor> inputs) : record_(at::RecordScope::FUNCTION) {
    if (!record_.isActive()) return;
    if (record_.needsInputs()) {
      const std::vector<c10::IValue> values(inputs.begin(), inputs.end());
      record_.before(name, &values);
    } else {
      record_.before(name);
    }
  }

 private:
  at::RecordFunction record_;
};

}  // namespace lorica::model
