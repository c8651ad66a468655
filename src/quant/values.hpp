// The values of a mapped tensor, converted piece by piece, and the search for those that are not finite. Internal to
// quant/.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "base/parallel.hpp"
#include "io/safetensors.hpp"
#include "kernels/float_type.hpp"

namespace lorica::quant {

/// What a file's float dtype is to ATen; none for other dtypes.
std::optional<at::ScalarType> float_dtype(io::Dtype dtype);
/// "model.safetensors' name of" the three storage dtypes.
io::Dtype file_dtype(at::ScalarType dtype);

/// `count` values from `first` on, in `type`, written to `out`. The tensor may lie at any address.
void convert_values(const io::TensorView& view, std::int64_t first, std::int64_t count, kernels::FloatType type,
                    void* out);

/// Can its values be read in place as `type`: of that dtype, and aligned?
bool readable_as(const io::TensorView& view, kernels::FloatType type);

/// True if all values of a float tensor are finite, on any device.
bool all_finite(const at::Tensor& tensor);

/// Throws the ModelError for the first value of `source` that isn't finite once it is rounded to `dtype`. There is one.
[[noreturn]] void raise_non_finite(std::string_view name, const at::Tensor& source, at::ScalarType dtype);
[[noreturn]] void raise_non_finite(const io::TensorView& view, at::ScalarType dtype);

/// A piece is a whole number of blocks of every size, and its float copy stays in the second-level cache.
inline constexpr std::int64_t kPieceValues = 1 << 16;

/// Calls body(first, count) for pieces of [0, n), on all threads.
template <class Body>
void for_pieces(std::int64_t n, const Body& body) {
  parallel_for((n + kPieceValues - 1) / kPieceValues, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t first = piece * kPieceValues;
      body(first, std::min(kPieceValues, n - first));
    }
  });
}

}  // namespace lorica::quant
