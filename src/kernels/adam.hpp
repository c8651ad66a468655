// Adam's update and the norm of gradients over many tensors at once, in one pass over memory. Arrays are float32.
#pragma once

#include <cstdint>
#include <span>

namespace lorica::kernels {

/// Numbers of one update, the same for all values of a tensor.
struct AdamStep {
  float keep = 1;  ///< the value is multiplied by this first: 1 − rate · decay (AdamW: Loshchilov, Hutter 2019)
  float l2 = 0;    ///< the gradient gets this times the value added (Adam's kind of weight decay)
  float mean_weight = 0;      ///< 1 − beta1
  float square_keep = 0;      ///< beta2
  float square_weight = 0;    ///< 1 − beta2
  float root_correction = 1;  ///< √(1 − beta2ᵗ)
  float epsilon = 0;
  float step_size = 0;  ///< rate / (1 − beta1ᵗ)
};

struct AdamTensor {
  float *value, *mean, *square;  ///< updated in place
  const float* gradient;
  std::int64_t count;  ///< values in each
  AdamStep step;
};

/// Adam (Kingma, Ba 2015, https://arxiv.org/abs/1412.6980) in PyTorch's arithmetic: with g' = g + l2 · x,
///   m += mean_weight · (g' − m),  s = square_keep · s + square_weight · g'²,
///   x = keep · x − step_size · m / (√s / root_correction + epsilon).
void adam_update(std::span<const AdamTensor> tensors);

struct FloatSpan {
  const float* data;
  std::int64_t count;
};

/// Σ x² of each span: float32 within pieces of 4,096 values, float64 over them, in their order. Not finite where a
/// value isn't.
void squares(std::span<const FloatSpan> spans, std::span<double> sums);

}  // namespace lorica::kernels
