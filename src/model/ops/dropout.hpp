// Dropout whose mask is a pure function of (seed, step, module, example, position, feature): recomputation, sharding,
// pipelining and any packing of the same examples draw the same mask.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace lorica::model {

/// What keys the random numbers of one micro-batch.
struct DropoutRows {
  std::uint64_t seed = 0;
  std::uint64_t step = 0;               ///< optimizer steps done before this one
  std::vector<std::int64_t> examples;   ///< [T] example of each token
  std::vector<std::int64_t> positions;  ///< [T] position of each token in its sequence
};

/// Inverted dropout of one module's input. Copyable; holds only keys, never a mask.
class Dropout {
 public:
  Dropout() = default;
  /// `module` tells apart the places of a model that drop (layer and linear's name, hashed).
  Dropout(std::shared_ptr<const DropoutRows> rows, std::uint64_t module, double probability)
      : rows_(std::move(rows)), module_(module), probability_(probability) {}
  bool active() const { return rows_ != nullptr && probability_ > 0; }
  /// x ⊙ mask / (1 − p); x [T, features], any floating dtype. Also the operation's own transpose, so backward calls it
  /// on gradients.
  at::Tensor apply(const at::Tensor& x) const;
  /// sum += apply(x), without memory for it where there is a kernel. sum [T, features].
  void add_to(const at::Tensor& sum, const at::Tensor& x) const;

 private:
  void check(const at::Tensor& x) const;

  std::shared_ptr<const DropoutRows> rows_;
  std::uint64_t module_ = 0;
  double probability_ = 0;
};

/// The mask scaled by 1/(1 − p), float32 [T, features], composed of ATen operations that run on any device. The CPU
/// path of Dropout::apply gives the same values.
at::Tensor dropout_mask(const DropoutRows& rows, std::uint64_t module, double probability, std::int64_t features,
                        at::Device device);

}  // namespace lorica::model
