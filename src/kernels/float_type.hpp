// Floating-point element types of the kernels, and their conversions in portable C++.
//
// float -> bfloat16 and float -> half round to nearest, ties to even, as IEEE 754 and PyTorch do; overflow becomes
// infinity, a NaN stays a (quiet) NaN. All 16-bit values convert to float exactly.
// They are always inlined: files compiled for AVX must not leave a shared copy behind that other files then call.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lorica::kernels {

enum class FloatType { f32, bf16, f16 };

constexpr std::size_t float_size(FloatType type) {
  return type == FloatType::f32 ? 4 : 2;
}
constexpr std::string_view float_name(FloatType type) {
  return type == FloatType::f32 ? "float32" : type == FloatType::bf16 ? "bfloat16" : "float16";
}

[[gnu::always_inline]] inline float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

[[gnu::always_inline]] inline std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FC0;
  return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

[[gnu::always_inline]] inline float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1Fu;
  const std::uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 0x1F) {  // a NaN is made quiet, as the hardware's conversion does
    const std::uint32_t quiet = mantissa ? 0x400000u : 0u;
    return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13) | quiet);
  }
  if (exponent == 0) {  // zero or subnormal: mantissa × 2⁻²⁴, exact in float
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

[[gnu::always_inline]] inline std::uint16_t float_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u);
  if (magnitude >= 0x477FF000u) return static_cast<std::uint16_t>(sign | 0x7C00u);  // ≥ 65520 rounds to infinity
  if (magnitude >= 0x38800000u) {                                                   // normal: ≥ 2⁻¹⁴
    const std::uint32_t rebased = magnitude - 0x38000000u;
    return static_cast<std::uint16_t>(sign | ((rebased + 0xFFFu + ((rebased >> 13) & 1u)) >> 13));
  }
  // Subnormal: adding 0.5 puts the bits that half keeps (units of 2⁻²⁴) at the end of float's mantissa, rounded.
  const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
  return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000u));
}

/// Element `index` of an array of `type`, as float.
[[gnu::always_inline]] inline float load_float(const void* data, FloatType type, std::int64_t index) {
  if (type == FloatType::f32) return static_cast<const float*>(data)[index];
  const auto bits = static_cast<const std::uint16_t*>(data)[index];
  return type == FloatType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
}

/// Rounds `value` to `type` and stores it as element `index`.
[[gnu::always_inline]] inline void store_float(void* data, FloatType type, std::int64_t index, float value) {
  if (type == FloatType::f32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<std::uint16_t*>(data)[index] = type == FloatType::bf16 ? float_to_bf16(value) : float_to_f16(value);
  }
}

/// The address of element `index`.
[[gnu::always_inline]] inline const void* element_at(const void* data, FloatType type, std::int64_t index) {
  return static_cast<const std::byte*>(data) + static_cast<std::size_t>(index) * float_size(type);
}
[[gnu::always_inline]] inline void* element_at(void* data, FloatType type, std::int64_t index) {
  return static_cast<std::byte*>(data) + static_cast<std::size_t>(index) * float_size(type);
}

}  // namespace lorica::kernels
