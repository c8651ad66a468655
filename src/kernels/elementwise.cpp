// Dispatch by instruction set, and threads, for the element-wise kernels.
#include "kernels/elementwise.hpp"

#include <algorithm>
#include <initializer_list>
#include <numeric>
#include <vector>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "kernels/elementwise_impl.hpp"

namespace lorica::kernels {
namespace {

// Values a chunk of work should have at least: some ten microseconds of it, far above the cost of handing it out.
constexpr std::int64_t kGrainValues = 1 << 14;
// dweight is summed in up to this many groups of rows, whatever the number of threads, then over the groups.
constexpr std::int64_t kWeightGroups = 32;

void check(FloatType type, std::int64_t rows, std::int64_t features) {
  ensure(type != FloatType::f16, "the element-wise kernels know float32 and bfloat16, not float16");
  ensure(rows >= 0 && features > 0, "an element-wise kernel was given {} rows of {} values", rows, features);
}

GatedInput part_of(const GatedInput& in, std::int64_t element) {
  return {element_at(in.gate, in.type, element), element_at(in.up, in.type, element), in.type};
}

void check_gated(const GatedInput& in, std::int64_t stride, FloatType type, std::int64_t rows, std::int64_t features) {
  check(type, rows, features);
  check(in.type, rows, features);
  for (const auto one : {in.stride, stride}) {
    ensure(one == 0 || one >= features, "a gated activation of {} values in rows that are {} apart", features, one);
  }
}

/// Calls body(first row, rows) for ranges of rows on all threads.
template <class Body>
void for_rows(std::int64_t rows, std::int64_t features, const Body& body) {
  parallel_for(rows, std::max<std::int64_t>(1, kGrainValues / features),
               [&](std::int64_t begin, std::int64_t end) { body(begin, end - begin); });
}

/// The same, row by row unless all of these strides are those of contiguous rows (0 stands for that).
template <class Body>
void for_runs(std::int64_t rows, std::int64_t features, std::initializer_list<std::int64_t> strides, const Body& body) {
  const bool contiguous = std::all_of(strides.begin(), strides.end(),
                                      [&](std::int64_t stride) { return stride == 0 || stride == features; });
  for_rows(rows, features, [&](std::int64_t row, std::int64_t count) {
    if (contiguous) return body(row, count);
    for (const std::int64_t end = row + count; row < end; ++row) body(row, 1);
  });
}

/// `kernel`: dropout or add_dropout.
void drop_rows(decltype(Elementwise::dropout) kernel, const void* x, DropoutKeys keys, const DropoutRule& rule,
               FloatType type, std::int64_t rows, std::int64_t features, void* y) {
  check(type, rows, features);
  ensure(static_cast<std::int64_t>(keys.size()) >= rows, "dropout of {} rows was given {} keys", rows, keys.size());
  ensure(rule.limit <= std::uint64_t{1} << 32, "dropout was given a limit of {}, above 2^32", rule.limit);
  for_rows(rows, features, [&](std::int64_t row, std::int64_t count) {
    for (const std::int64_t end = row + count; row < end; ++row) {
      const std::int64_t at = row * features;
      kernel(element_at(x, type, at), keys[static_cast<std::size_t>(row)], rule, type, features,
             element_at(y, type, at));
    }
  });
}

}  // namespace

void rms_norm(const void* x, const float* weight, FloatType type, std::int64_t rows, std::int64_t features,
              const RmsRule& rule, void* y) {
  check(type, rows, features);
  const auto& kernel = elementwise();
  for_rows(rows, features, [&](std::int64_t row, std::int64_t count) {
    const std::int64_t at = row * features;
    kernel.rms_norm(element_at(x, type, at), weight, type, count, features, rule, element_at(y, type, at));
  });
}

void add_rms_norm(const void* x, const void* change, const float* weight, FloatType type, std::int64_t rows,
                  std::int64_t features, const RmsRule& rule, void* sum, void* y) {
  check(type, rows, features);
  const auto& kernel = elementwise();
  for_rows(rows, features, [&](std::int64_t row, std::int64_t count) {
    const std::int64_t at = row * features;
    kernel.add_rms_norm(element_at(x, type, at), element_at(change, type, at), weight, type, count, features, rule,
                        element_at(sum, type, at), y ? element_at(y, type, at) : nullptr);
  });
}

void rms_norm_backward(const void* x, const float* weight, const void* dy, const void* dsum, FloatType type,
                       std::int64_t rows, std::int64_t features, float eps, void* dx, float* dweight) {
  check(type, rows, features);
  const auto& kernel = elementwise();
  const std::int64_t group =
      std::max((rows + kWeightGroups - 1) / kWeightGroups, std::max<std::int64_t>(1, kGrainValues / features));
  const std::int64_t groups = (rows + group - 1) / group;
  std::vector<float> sums(dweight ? static_cast<std::size_t>(groups * features) : 0);
  parallel_for(groups, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t g = begin; g < end; ++g) {
      const std::int64_t row = g * group, count = std::min(group, rows - row), at = row * features;
      kernel.rms_norm_backward(element_at(x, type, at), weight, element_at(dy, type, at),
                               dsum ? element_at(dsum, type, at) : nullptr, type, count, features, eps,
                               dx ? element_at(dx, type, at) : nullptr, dweight ? sums.data() + g * features : nullptr);
    }
  });
  if (!dweight) return;
  std::fill(dweight, dweight + features, 0.0f);
  for (std::size_t i = 0; i < sums.size(); ++i) dweight[i % static_cast<std::size_t>(features)] += sums[i];
}

void gated(const GatedInput& in, Gate f, std::int64_t rows, std::int64_t features, FloatType type, void* y,
           std::uint16_t* kept_gate, std::uint16_t* kept_up) {
  check_gated(in, 0, type, rows, features);
  const auto& kernel = elementwise();
  const auto stride = in.stride > 0 ? in.stride : features;
  for_runs(rows, features, {stride}, [&](std::int64_t row, std::int64_t count) {
    const std::int64_t at = row * features;
    kernel.gated(part_of(in, row * stride), f, count * features, type, element_at(y, type, at),
                 kept_gate ? kept_gate + at : nullptr, kept_up ? kept_up + at : nullptr);
  });
}

void gated_backward(const GatedInput& in, Gate f, const void* dy, FloatType type, std::int64_t rows,
                    std::int64_t features, const GatedGradient& out) {
  check_gated(in, out.stride, type, rows, features);
  const auto& kernel = elementwise();
  const auto stride = in.stride > 0 ? in.stride : features, out_stride = out.stride > 0 ? out.stride : features;
  for_runs(rows, features, {stride, out_stride}, [&](std::int64_t row, std::int64_t count) {
    const std::int64_t to = row * out_stride;
    kernel.gated_backward(part_of(in, row * stride), f, element_at(dy, type, row * features), type, count * features,
                          {element_at(out.gate, type, to), element_at(out.up, type, to)});
  });
}

void rotary(const void* x, const float* cosine, const float* sine, FloatType type, const RotaryShape& shape,
            bool inverse, void* y) {
  const std::int64_t features = shape.heads * shape.head_size;
  check(type, shape.tokens, features);
  ensure(shape.rotary_size >= 0 && shape.rotary_size % 2 == 0 && shape.rotary_size <= shape.head_size,
         "rotary embedding of {} elements in heads of {}", shape.rotary_size, shape.head_size);
  ensure(shape.stride >= features, "rotary embedding of tokens of {} values that are {} apart", features, shape.stride);
  const auto& kernel = elementwise();
  const std::int64_t half = shape.rotary_size / 2;
  for_rows(shape.tokens, features, [&](std::int64_t token, std::int64_t count) {
    RotaryShape part = shape;
    part.tokens = count;
    const std::int64_t at = token * shape.stride;
    kernel.rotary(element_at(x, type, at), cosine + token * half, sine + token * half, type, part, inverse,
                  element_at(y, type, at));
  });
}

void dropout(const void* x, DropoutKeys keys, const DropoutRule& rule, FloatType type, std::int64_t rows,
             std::int64_t features, void* y) {
  drop_rows(elementwise().dropout, x, keys, rule, type, rows, features, y);
}

void add_dropout(const void* x, DropoutKeys keys, const DropoutRule& rule, FloatType type, std::int64_t rows,
                 std::int64_t features, void* sum) {
  drop_rows(elementwise().add_dropout, x, keys, rule, type, rows, features, sum);
}

double cross_entropy(float* logits, const std::int64_t* labels, std::int64_t rows, std::int64_t classes,
                     bool gradient) {
  check(FloatType::f32, rows, classes);
  for (std::int64_t row = 0; row < rows; ++row) {
    ensure(labels[row] >= 0 && labels[row] < classes, "label {} of {} classes", labels[row], classes);
  }
  const auto& kernel = elementwise();
  std::vector<double> losses(static_cast<std::size_t>(rows));
  for_rows(rows, classes, [&](std::int64_t row, std::int64_t count) {
    kernel.cross_entropy(logits + row * classes, labels + row, count, classes, gradient, losses.data() + row);
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace lorica::kernels
