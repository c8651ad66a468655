// The implementations behind kernels/elementwise.hpp, one set for each instruction set. Internal to kernels/.
// They run on the calling thread; strides are filled in; dweight is added to.
#pragma once

#include "kernels/elementwise.hpp"

namespace lorica::kernels {

struct Elementwise {
  void (*rms_norm)(const void* x, const float* weight, FloatType type, std::int64_t rows, std::int64_t features,
                   float eps, void* y);
  void (*rms_norm_backward)(const void* x, const float* weight, const void* dy, FloatType type, std::int64_t rows,
                            std::int64_t features, float eps, void* dx, float* dweight);
  void (*swiglu)(const void* gate, const void* up, std::int64_t stride, FloatType type, std::int64_t rows,
                 std::int64_t features, void* y);
  void (*swiglu_backward)(const void* gate, const void* up, std::int64_t stride, const void* dy, FloatType type,
                          std::int64_t rows, std::int64_t features, void* dgate, void* dup);
  void (*rotary)(const void* x, const float* cosine, const float* sine, FloatType type, const RotaryShape& shape,
                 bool inverse, void* y);
  /// losses [rows]
  void (*cross_entropy)(float* logits, const std::int64_t* labels, std::int64_t rows, std::int64_t classes,
                        bool gradient, double* losses);
};

extern const Elementwise kElementwiseReference, kElementwiseAvx2, kElementwiseAvx512;

}  // namespace lorica::kernels
