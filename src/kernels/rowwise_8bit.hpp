// Row-wise 8-bit quantization: each row of a matrix as signed bytes and its largest magnitude.
//
// Format: LLM.int8() (Dettmers et al. 2022, https://arxiv.org/abs/2208.07339) as bitsandbytes 0.50 stores weights (its
// "CB" and "SCB"); bytes and statistics equal those that it computes on its CPU:
//   v         = the value rounded to float16, as bitsandbytes does before it quantizes a weight
//   absmax[r] = max |v| of the row
//   code      = v × (1 / absmax × 127), each operation rounded to float32, then to the nearest integer, ties to
//               even; 0 in a row of zeros
//   value     = code × (absmax × (1/127)), each product rounded to float32, then once more to the output type
#pragma once

#include <cstdint>

#include "kernels/float_type.hpp"

namespace lorica::kernels {

/// source: rows × columns values of `type`; codes: as many; absmax: one for each row, not finite if a value of the row
/// isn't or is too large for float16. Runs on all threads.
void quantize_rows_8bit(const void* source, FloatType type, std::int64_t rows, std::int64_t columns, std::int8_t* codes,
                        float* absmax);

/// What a code of a row stands for.
constexpr float row_scale_8bit(float absmax) {
  return absmax * (1.0f / 127.0f);
}

/// The other way: `out` gets rows × columns values of `type`; scales[r] is row_scale_8bit(absmax[r]).
void dequantize_rows_8bit(const std::int8_t* codes, const float* scales, std::int64_t rows, std::int64_t columns,
                          FloatType type, void* out);

}  // namespace lorica::kernels
