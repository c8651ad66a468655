// How attention is cut into tasks, and who runs them.
//
// Forward: a task is some queries of one sequence and all heads that share one key head. Backward: the square of
// queries and keys is cut into chunks, and the chunks on one diagonal share neither queries nor keys: they run at the
// same time, diagonal after diagonal. So every sum is made in one order, whatever the number of threads, without
// copies of the gradients to add up later. (Each diagonal waits for the one before; with n chunks in a sequence, the
// n-th has one task for each sequence and key head.)
#include "kernels/attention.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "kernels/attention_impl.hpp"
#include "kernels/mode.hpp"
#include "kernels/scratch.hpp"

namespace lorica::kernels {
namespace {

// Rows (queries × heads) of a task: what packing a block of keys is spread over.
constexpr std::int64_t kForwardRows = 448;
constexpr std::int64_t kFewestQueries = 16;  // of a forward task, when there are few tasks for many threads
// Of queries and keys in backward. Half as many were 10 to 18 % slower on one thread (lengths 100 to 512).
constexpr std::int64_t kChunk = kAttentionKeys;

const AttentionKernel& implementation() {
  return choose(kAttentionReference, kAttentionAvx2, kAttentionAvx512);
}

float* scratch(std::int64_t floats) {
  static thread_local Scratch memory;
  return memory.get(floats);
}

/// Some queries of one sequence and key head; in backward also some of its keys.
struct Task {
  std::size_t sequence;
  std::int64_t kv_head, first, count, first_key;
  std::int64_t cost;  ///< scores to compute, about
};

/// The costly ones first.
template <class Body>
void run_tasks(std::vector<Task>& tasks, const Body& body) {
  std::stable_sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) { return a.cost > b.cost; });
  parallel_each(static_cast<std::int64_t>(tasks.size()),
                [&](std::int64_t i) { body(tasks[static_cast<std::size_t>(i)]); });
}

/// Where backward sums, float32, with strides in elements from token to token.
struct Sums {
  void *dq, *dk, *dv;
  std::int64_t q_stride, k_stride, v_stride;
};

/// A call of attention or its backward: its arrays, cut by sequence and key head.
class Call {
 public:
  Call(FloatType type, const AttentionShape& shape)
      : kernel_(implementation()),
        type_(type),
        shape_(shape),
        key_offsets_(shape.key_offsets.empty() ? shape.offsets : shape.key_offsets),
        group_(shape.kv_heads > 0 ? shape.heads / shape.kv_heads : 0),
        width_(shape.heads * shape.head_size),
        scale_(shape.scale > 0 ? shape.scale : 1.0f / std::sqrt(static_cast<float>(shape.head_size))) {
    check();
  }

  void forward(const void* q, const void* k, const void* v, void* out, float* lse) const {
    auto tasks = forward_tasks();
    run_tasks(tasks, [&](const Task& task) {
      float* memory = scratch(kernel_.forward_scratch(task.count * group_, shape_.head_size));
      kernel_.forward(head(task, q, k, v), task.first, task.count, rows_of(task, out, type_, width_), values(task, lse),
                      memory);
    });
  }

  void backward(const void* q, const void* k, const void* v, const void* out, const float* lse, const void* dout,
                const Sums& sums) const {
    std::vector<float> products(static_cast<std::size_t>(shape_.heads * shape_.tokens()));
    const std::int64_t floats = kernel_.backward_scratch(shape_.head_size);
    std::vector<Task> tasks;
    for (std::int64_t diagonal = 0; tasks = backward_tasks(diagonal), !tasks.empty(); ++diagonal) {
      run_tasks(tasks, [&](const Task& task) {
        const AttentionGradients gradients{rows_of(task, out, type_, width_),
                                           rows_of(task, dout, type_, width_),
                                           values(task, lse),
                                           values(task, products.data()),
                                           rows_of(task, sums.dq, FloatType::f32, sums.q_stride),
                                           keys_of(task, sums.dk, FloatType::f32, sums.k_stride),
                                           keys_of(task, sums.dv, FloatType::f32, sums.v_stride)};
        const auto one = head(task, q, k, v);
        kernel_.backward(one, gradients, task.first, task.first + task.count, task.first_key,
                         std::min(one.keys, task.first_key + kChunk), scratch(floats));
      });
    }
  }

  /// `rows` [tokens, heads, head_size] float32 contiguous, rounded to `out`.
  void round(const float* rows, std::int64_t heads, void* out, std::int64_t stride) const {
    parallel_for(shape_.tokens(), 64, [&](std::int64_t begin, std::int64_t end) {
      kernel_.round({rows, FloatType::f32, heads * shape_.head_size, heads, shape_.head_size}, begin * heads,
                    end * heads, {out, type_, stride, heads, shape_.head_size});
    });
  }

 private:
  void check() const {
    ensure(type_ != FloatType::f16, "attention knows float32 and bfloat16, not float16");
    ensure(attention_takes_head_size(shape_.head_size), "attention with heads of {}, not a multiple of 8 up to 256",
           shape_.head_size);
    ensure(shape_.kv_heads > 0 && shape_.heads > 0 && shape_.heads % shape_.kv_heads == 0,
           "attention of {} heads over {} key heads", shape_.heads, shape_.kv_heads);
    ensure(shape_.window >= 0 && shape_.scale >= 0 && shape_.softcap >= 0,
           "attention with a window of {}, a scale of {} and a soft cap of {}", shape_.window, shape_.scale,
           shape_.softcap);
    const auto fits = [](std::int64_t stride, std::int64_t gradient, std::int64_t width) {
      return stride >= width && (gradient == 0 || gradient >= width);
    };
    const std::int64_t narrow = shape_.kv_heads * shape_.head_size;
    ensure(fits(shape_.q_stride, shape_.dq_stride, width_) && fits(shape_.k_stride, shape_.dk_stride, narrow) &&
               fits(shape_.v_stride, shape_.dv_stride, narrow),
           "attention: tokens of {} and {} values do not fit strides of {}, {}, {}, gradients {}, {}, {}", width_,
           narrow, shape_.q_stride, shape_.k_stride, shape_.v_stride, shape_.dq_stride, shape_.dk_stride,
           shape_.dv_stride);
    ensure(!shape_.offsets.empty() && shape_.offsets.front() == 0 && key_offsets_.size() == shape_.offsets.size() &&
               key_offsets_.front() == 0,
           "attention: offsets must start at 0, and there must be as many for the keys as for the queries");
    for (std::size_t s = 0; s < sequences(); ++s) {
      ensure(queries(s) >= 0 && keys(s) >= queries(s), "attention: sequence {} has {} queries and {} keys", s,
             queries(s), keys(s));
    }
  }

  std::size_t sequences() const { return shape_.offsets.size() - 1; }
  std::int64_t queries(std::size_t s) const { return shape_.offsets[s + 1] - shape_.offsets[s]; }
  std::int64_t keys(std::size_t s) const { return key_offsets_[s + 1] - key_offsets_[s]; }

  /// The rows of a task's query heads in an array like q, or of its key head in one like k.
  template <class Pointer>
  HeadRows<Pointer> rows_of(const Task& task, Pointer data, FloatType type, std::int64_t stride) const {
    const std::int64_t at = shape_.offsets[task.sequence] * stride + task.kv_head * group_ * shape_.head_size;
    return {element_at(data, type, at), type, stride, group_, shape_.head_size};
  }
  template <class Pointer>
  HeadRows<Pointer> keys_of(const Task& task, Pointer data, FloatType type, std::int64_t stride) const {
    const std::int64_t at = key_offsets_[task.sequence] * stride + task.kv_head * shape_.head_size;
    return {element_at(data, type, at), type, stride, 1, shape_.head_size};
  }
  template <class Float>
  HeadValues<Float> values(const Task& task, Float* data) const {
    return {data + task.kv_head * group_ * shape_.tokens() + shape_.offsets[task.sequence], shape_.tokens(), group_};
  }
  AttentionHead head(const Task& task, const void* q, const void* k, const void* v) const {
    return {rows_of(task, q, type_, shape_.q_stride),
            keys_of(task, k, type_, shape_.k_stride),
            keys_of(task, v, type_, shape_.v_stride),
            queries(task.sequence),
            keys(task.sequence),
            shape_.window,
            scale_,
            shape_.softcap};
  }

  std::int64_t visible(std::int64_t position) const {
    return shape_.window > 0 ? std::min(position + 1, shape_.window) : position + 1;
  }

  std::vector<Task> forward_tasks() const {
    std::int64_t most = std::clamp<std::int64_t>(kForwardRows / group_, kFewestQueries, 256);
    // Smaller tasks for many threads: that changes no result, only how often keys are packed.
    const std::int64_t wanted = 4 * static_cast<std::int64_t>(thread_count());
    while (thread_count() > 1 && most > kFewestQueries && shape_.tokens() * shape_.kv_heads < wanted * most) most /= 2;
    std::vector<Task> tasks;
    for (std::size_t s = 0; s < sequences(); ++s) {
      for (std::int64_t first = 0; first < queries(s); first += most) {
        const std::int64_t count = std::min(most, queries(s) - first);
        const std::int64_t cost = count * visible(keys(s) - queries(s) + first + count / 2);
        for (std::int64_t h = 0; h < shape_.kv_heads; ++h) tasks.push_back({s, h, first, count, 0, cost});
      }
    }
    return tasks;
  }

  /// Chunk i of the queries against chunk i − diagonal of the keys, of all sequences that are long enough.
  std::vector<Task> backward_tasks(std::int64_t diagonal) const {
    std::vector<Task> tasks;
    for (std::size_t s = 0; s < sequences(); ++s) {
      const std::int64_t length = queries(s), behind = diagonal * kChunk;
      if (shape_.window > 0 && behind - kChunk + 1 >= shape_.window) continue;  // the nearest pair is that far apart
      for (std::int64_t first = behind; first < length; first += kChunk) {
        const std::int64_t count = std::min(kChunk, length - first);
        const std::int64_t cost = count * (diagonal > 0 ? kChunk : count / 2 + 1);
        for (std::int64_t h = 0; h < shape_.kv_heads; ++h) tasks.push_back({s, h, first, count, first - behind, cost});
      }
    }
    return tasks;
  }

  const AttentionKernel& kernel_;
  const FloatType type_;
  const AttentionShape& shape_;
  const std::span<const std::int64_t> key_offsets_;
  const std::int64_t group_, width_;
  const float scale_;
};

}  // namespace

void attention(const void* q, const void* k, const void* v, FloatType type, const AttentionShape& shape, void* out,
               float* lse) {
  Call(type, shape).forward(q, k, v, out, lse);
}

void attention_backward(const void* q, const void* k, const void* v, const void* out, const float* lse,
                        const void* dout, FloatType type, const AttentionShape& shape, void* dq, void* dk, void* dv) {
  ensure(shape.key_offsets.empty(), "attention's backward takes as many keys as queries");
  const Call call(type, shape);
  const std::int64_t q_stride = shape.dq_stride > 0 ? shape.dq_stride : shape.q_stride;
  const std::int64_t k_stride = shape.dk_stride > 0 ? shape.dk_stride : shape.k_stride;
  const std::int64_t v_stride = shape.dv_stride > 0 ? shape.dv_stride : shape.v_stride;
  if (type == FloatType::f32) {
    return call.backward(q, k, v, out, lse, dout, {dq, dk, dv, q_stride, k_stride, v_stride});
  }
  // Sums over a sequence in 16 bits would lose most of their digits: they are made in float32 and rounded at the end.
  const std::int64_t wide = shape.heads * shape.head_size, narrow = shape.kv_heads * shape.head_size;
  const auto sums_of = [&](std::int64_t width) {
    return std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(shape.tokens() * width));
  };
  const auto dq32 = sums_of(wide), dk32 = sums_of(narrow), dv32 = sums_of(narrow);
  call.backward(q, k, v, out, lse, dout, {dq32.get(), dk32.get(), dv32.get(), wide, narrow, narrow});
  call.round(dq32.get(), shape.heads, dq, q_stride);
  call.round(dk32.get(), shape.kv_heads, dk, k_stride);
  call.round(dv32.get(), shape.kv_heads, dv, v_stride);
}

}  // namespace lorica::kernels
