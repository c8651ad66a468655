// The implementations behind kernels/elementwise.hpp and kernels/adam.hpp, one set for each instruction set. Internal
// to kernels/. They run on the calling thread; strides are filled in; dweight is added to.
#pragma once

#include "kernels/adam.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/mode.hpp"

namespace lorica::kernels {

struct Elementwise {
  void (*rms_norm)(const void* x, const float* weight, FloatType type, std::int64_t rows, std::int64_t features,
                   const RmsRule& rule, void* y);
  void (*add_rms_norm)(const void* x, const void* change, const float* weight, FloatType type, std::int64_t rows,
                       std::int64_t features, const RmsRule& rule, void* sum, void* y);
  void (*rms_norm_backward)(const void* x, const float* weight, const void* dy, const void* dsum, FloatType type,
                            std::int64_t rows, std::int64_t features, float eps, void* dx, float* dweight);
  /// Of `count` values.
  void (*gated)(const GatedInput& in, Gate f, std::int64_t count, FloatType type, void* y, std::uint16_t* kept_gate,
                std::uint16_t* kept_up);
  void (*gated_backward)(const GatedInput& in, Gate f, const void* dy, FloatType type, std::int64_t count,
                         const GatedGradient& out);
  void (*rotary)(const void* x, const float* cosine, const float* sine, FloatType type, const RotaryShape& shape,
                 bool inverse, void* y);
  /// Of one row, whose key is given.
  void (*dropout)(const void* x, std::uint32_t key, const DropoutRule& rule, FloatType type, std::int64_t features,
                  void* y);
  void (*add_dropout)(const void* x, std::uint32_t key, const DropoutRule& rule, FloatType type, std::int64_t features,
                      void* sum);
  /// losses [rows]
  void (*cross_entropy)(float* logits, const std::int64_t* labels, std::int64_t rows, std::int64_t classes,
                        bool gradient, double* losses);
  void (*adam)(const AdamTensor& tensor);
  double (*squares)(const float* x, std::int64_t count);
};

extern const Elementwise kElementwiseReference, kElementwiseAvx2, kElementwiseAvx512;

inline const Elementwise& elementwise() {
  return choose(kElementwiseReference, kElementwiseAvx2, kElementwiseAvx512);
}

}  // namespace lorica::kernels
