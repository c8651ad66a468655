// What the parts of a layer hold and compute, for a plan. Free of Torch.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace lorica::model {

/// Facts of a run on which it depends what a layer holds for its backward.
struct RunFacts {
  bool selective = false;        ///< cheap results are made again
  bool dropout = false;          ///< adapters drop out
  bool joins_sequences = false;  ///< attention takes one sequence at a time and puts the results together
  std::function<bool(const std::string& module)> keeps_input;  ///< does the linear layer's backward need its input?
};

/// Numbers a token, by what they are held in.
struct Held {
  std::uint64_t compute = 0;  ///< the dtype of activations
  std::uint64_t wide = 0;     ///< the dtype that the widest are kept in
  std::uint64_t float32 = 0;

  Held& operator+=(const Held& other) {
    compute += other.compute, wide += other.wide, float32 += other.float32;
    return *this;
  }
};

/// Numbers a token in the dtype of activations while a part runs, beyond what is kept: forward without keeping
/// anything, and at the peak of backward.
struct Peaks {
  std::uint64_t forward = 0, backward = 0;
};

}  // namespace lorica::model
