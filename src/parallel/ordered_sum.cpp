#include "parallel/ordered_sum.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

#include "base/error.hpp"

namespace lorica::parallel {
namespace {

constexpr std::int64_t kBlock = 2048;  // accumulators that stay in the first-level cache

template <class In>
using Accumulator = std::conditional_t<std::is_same_v<In, double>, double,
                                       std::conditional_t<std::is_integral_v<In>, std::int64_t, float>>;

template <class In, class Out>
void sum_typed(const std::vector<at::Tensor>& parts, const at::Tensor& out) {
  std::vector<const In*> from;
  for (const auto& part : parts) from.push_back(part.const_data_ptr<In>());
  auto* to = out.mutable_data_ptr<Out>();
  std::array<Accumulator<In>, kBlock> sums;
  for (std::int64_t begin = 0; begin < out.numel(); begin += kBlock) {
    const auto count = std::min(kBlock, out.numel() - begin);
    for (std::int64_t i = 0; i < count; ++i) sums[i] = static_cast<Accumulator<In>>(from[0][begin + i]);
    for (std::size_t p = 1; p < from.size(); ++p) {
      const In* part = from[p] + begin;
      for (std::int64_t i = 0; i < count; ++i) sums[i] += static_cast<Accumulator<In>>(part[i]);
    }
    for (std::int64_t i = 0; i < count; ++i) to[begin + i] = static_cast<Out>(sums[i]);
  }
}

template <class In>
void sum_from(const std::vector<at::Tensor>& parts, const at::Tensor& out) {
  if (out.scalar_type() == parts.front().scalar_type()) return sum_typed<In, In>(parts, out);
  if constexpr (!std::is_integral_v<In>) {
    switch (out.scalar_type()) {
      case at::kFloat:
        return sum_typed<In, float>(parts, out);
      case at::kBFloat16:
        return sum_typed<In, at::BFloat16>(parts, out);
      case at::kHalf:
        return sum_typed<In, at::Half>(parts, out);
      default:
        break;
    }
  }
  raise<Error>("internal error: no sum of {} into {}", toString(parts.front().scalar_type()),
               toString(out.scalar_type()));
}

}  // namespace

void sum_in_order(const std::vector<at::Tensor>& parts, const at::Tensor& out) {
  switch (parts.front().scalar_type()) {
    case at::kFloat:
      return sum_from<float>(parts, out);
    case at::kBFloat16:
      return sum_from<at::BFloat16>(parts, out);
    case at::kHalf:
      return sum_from<at::Half>(parts, out);
    case at::kDouble:
      return sum_from<double>(parts, out);
    case at::kInt:
      return sum_from<std::int32_t>(parts, out);
    case at::kLong:
      return sum_from<std::int64_t>(parts, out);
    default:
      raise<Error>("internal error: no sum over processes of {}", toString(parts.front().scalar_type()));
  }
}

}  // namespace lorica::parallel
