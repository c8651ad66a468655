// Low-rank adaptation (LoRA; Hu et al. 2021, https://arxiv.org/abs/2106.09685) as PEFT defines it:
//   y = base(x) + s · B A dropout(x),   s = alpha / r, or alpha / sqrt(r) with rank-stabilized scaling (Kalajdzievski
//   2023).
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "model/weights.hpp"

namespace lorica::adapters {
/// Its tensors in BlockWeights: "<module>.lora_A.weight" [r, in], "<module>.lora_B.weight" [out, r].
class LoraAdapter : public model::LinearAdapter {
 public:
  /// `module_key` tells this layer's dropout from every other's (a hash of its full name).
  LoraAdapter(double scaling, double dropout, std::uint64_t module_key)
      : scaling_(scaling), dropout_(dropout), module_key_(module_key) {}
  model::LowRank low_rank(const std::string& module, const model::BlockWeights& weights,
                          const model::Pass& pass) const override;
  double scaling() const { return scaling_; }

 private:
  double scaling_, dropout_;
  std::uint64_t module_key_;
};

/// A's start as PEFT has it (Kaiming uniform with a = sqrt(5), that is U(−1/sqrt(in), 1/sqrt(in))), drawn from the
/// stream `key`.
at::Tensor initial_lora_a(std::int64_t rank, std::int64_t in, std::uint64_t key);

/// s · B A, float32 [out, in]: what the adapter adds to the weight when it is merged.
at::Tensor lora_delta(const at::Tensor& a, const at::Tensor& b, double scaling);

}  // namespace lorica::adapters
