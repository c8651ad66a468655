#include "kernels/rowwise_8bit.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.hpp"

namespace lorica::kernels {
namespace {

// Values that are worth a thread's while.
constexpr std::int64_t kGrainValues = 1 << 14;

std::int64_t grain_of(std::int64_t columns) {
  return std::max<std::int64_t>(1, kGrainValues / std::max<std::int64_t>(1, columns));
}

/// max |v|, or NaN or infinity if a value is.
float largest_magnitude(const float* values, std::int64_t count) {
  float largest = 0;
  bool finite = true;
  for (std::int64_t i = 0; i < count; ++i) {
    const float magnitude = std::fabs(values[i]);
    finite = finite && magnitude <= 65504.0f;  // false for NaN
    largest = std::max(largest, magnitude);
  }
  return finite ? largest : HUGE_VALF;
}

void quantize_row(float* values, std::int64_t count, std::int8_t* codes, float& absmax) {
  absmax = largest_magnitude(values, count);
  const float factor = absmax == 0 || !std::isfinite(absmax) ? 0.0f : 1.0f / absmax * 127.0f;
  for (std::int64_t i = 0; i < count; ++i) {
    const float code = std::nearbyintf(std::isfinite(values[i]) ? values[i] * factor : 0.0f);
    codes[i] = static_cast<std::int8_t>(code);
  }
}

}  // namespace

void quantize_rows_8bit(const void* source, FloatType type, std::int64_t rows, std::int64_t columns, std::int8_t* codes,
                        float* absmax) {
  parallel_for(rows, grain_of(columns), [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> values(static_cast<std::size_t>(columns));
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t i = 0; i < columns; ++i) {
        values[static_cast<std::size_t>(i)] = f16_to_float(float_to_f16(load_float(source, type, row * columns + i)));
      }
      quantize_row(values.data(), columns, codes + row * columns, absmax[row]);
    }
  });
}

void dequantize_rows_8bit(const std::int8_t* codes, const float* scales, std::int64_t rows, std::int64_t columns,
                          FloatType type, void* out) {
  parallel_for(rows, grain_of(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float scale = scales[row];
      const std::int8_t* in = codes + row * columns;
      if (type == FloatType::f32) {
        float* to = static_cast<float*>(out) + row * columns;
        for (std::int64_t i = 0; i < columns; ++i) to[i] = static_cast<float>(in[i]) * scale;
        continue;
      }
      for (std::int64_t i = 0; i < columns; ++i) {
        store_float(out, type, row * columns + i, static_cast<float>(in[i]) * scale);
      }
    }
  });
}

}  // namespace lorica::kernels
