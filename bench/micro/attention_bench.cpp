// Our attention against ATen's scaled_dot_product_attention, forward and forward with backward: alternately in one run,
// medians and ratios. Usage: attention_bench [rounds] [threads] [avx2] [bf16]. 14 heads over 2 key heads of 64, as
// Qwen2.5-0.5B. FLOPs are those of the visible half alone; the share is of what our float32 matrix product reaches in
// the same rounds. With one thread its processor time is what counts; with more, the time on the wall.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <vector>

#include "base/machine.hpp"
#include "base/parallel.hpp"
#include "kernels/attention.hpp"
#include "kernels/gemm.hpp"
#include "kernels/mode.hpp"

namespace {

using namespace lorica;

constexpr std::int64_t kHeads = 14, kKeyHeads = 2, kSize = 64;

double now() {
  timespec time{};
  ::clock_gettime(thread_count() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Candidate {
  std::function<void()> run;
  std::vector<double> times;
};

/// ATen, one sequence after the other, as a ragged batch has to.
at::Tensor by_aten(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t length) {
  std::vector<at::Tensor> parts;
  for (std::int64_t begin = 0; begin < q.size(0); begin += length) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, begin, length).transpose(0, 1).unsqueeze(0); };
    parts.push_back(
        at::scaled_dot_product_attention(part(q), part(k), part(v), {}, 0.0, true, std::nullopt, true).squeeze(0));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

struct Ours {
  Ours(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& dout, std::int64_t length)
      : q(q),
        k(k),
        v(v),
        dout(dout),
        out(at::empty_like(q)),
        dq(at::empty_like(q)),
        dk(at::empty_like(k)),
        dv(at::empty_like(v)),
        lse(at::empty({kHeads, q.size(0)})) {
    for (std::int64_t at = 0; at <= q.size(0); at += length) offsets.push_back(at);
    shape.offsets = offsets;
    shape.heads = kHeads, shape.kv_heads = kKeyHeads, shape.head_size = kSize;
    shape.q_stride = kHeads * kSize, shape.k_stride = shape.v_stride = kKeyHeads * kSize;
    type = q.scalar_type() == at::kFloat ? kernels::FloatType::f32 : kernels::FloatType::bf16;
  }
  void forward() {
    kernels::attention(q.data_ptr(), k.data_ptr(), v.data_ptr(), type, shape, out.data_ptr(), lse.data_ptr<float>());
  }
  void backward() {
    kernels::attention_backward(q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(), lse.data_ptr<float>(),
                                dout.data_ptr(), type, shape, dq.data_ptr(), dk.data_ptr(), dv.data_ptr());
  }
  at::Tensor q, k, v, dout, out, dq, dk, dv, lse;
  std::vector<std::int64_t> offsets;
  kernels::AttentionShape shape;
  kernels::FloatType type;
};

void compare(std::int64_t sequences, std::int64_t length, int rounds, at::ScalarType dtype) {
  const std::int64_t tokens = sequences * length;
  const auto made = [&](std::int64_t heads) { return at::randn({tokens, heads, kSize}).to(dtype); };
  const auto q = made(kHeads), k = made(kKeyHeads), v = made(kKeyHeads), dout = made(kHeads);
  const auto q_leaf = q.clone().requires_grad_(), k_leaf = k.clone().requires_grad_(),
             v_leaf = v.clone().requires_grad_();
  const auto dout_by_head = dout.transpose(0, 1).contiguous();
  Ours ours(q, k, v, dout, length);
  const auto a = at::randn({512, 896}), b = at::randn({896, 896});
  auto c = at::empty({512, 896});
  const auto matrix = [](const at::Tensor& x) {
    return kernels::dense_matrix(x.data_ptr(), kernels::FloatType::f32, x.size(0), x.size(1), x.size(1));
  };
  std::vector<Candidate> candidates = {
      {[&] { by_aten(q, k, v, length); }, {}},
      {[&] { ours.forward(); }, {}},
      {[&] {
         const auto out = by_aten(q_leaf, k_leaf, v_leaf, length);
         torch::autograd::grad({out}, {q_leaf, k_leaf, v_leaf}, {dout_by_head});
       },
       {}},
      {[&] { ours.forward(), ours.backward(); }, {}},
      {[&] { kernels::gemm(matrix(a), matrix(b), 0, c.data_ptr<float>(), 896); }, {}},
  };
  for (int round = -1; round < rounds; ++round) {  // the first one warms up
    for (auto& candidate : candidates) {
      const double start = now();
      candidate.run();
      if (round >= 0) candidate.times.push_back(now() - start);
    }
  }
  std::vector<double> t;
  for (const auto& candidate : candidates) t.push_back(median(candidate.times));
  // A product over the visible pairs; forward has two of them, backward five.
  const double pairs = static_cast<double>(sequences) * static_cast<double>(length * (length + 1)) / 2;
  const double product = 2.0 * pairs * static_cast<double>(kHeads * kSize) * 1e-9;
  const double gemm = 2.0 * 512 * 896 * 896 * 1e-9 / t[4];
  const auto row = [&](const char* what, double products, double aten, double own) {
    std::printf(
        "%2ld x %5ld  %-18s aten %8.3f ms %7.1f GFLOP/s   ours %8.3f ms %7.1f GFLOP/s   ratio %5.2f   %3.0f %% "
        "of gemm's %.1f\n",
        sequences, length, what, aten * 1e3, products * product / aten, own * 1e3, products * product / own, aten / own,
        100 * products * product / own / gemm, gemm);
  };
  row("forward", 2, t[0], t[1]);
  row("forward+backward", 7, t[2], t[3]);
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 15;
  const int threads = count > 2 ? std::atoi(arguments[2]) : available_cores();
  if (rounds < 1 || threads < 1) {
    std::fprintf(stderr, "usage: attention_bench [rounds] [threads] [avx2] [bf16], the numbers positive\n");
    return 2;
  }
  at::ScalarType dtype = at::kFloat;
  for (int i = 3; i < count; ++i) {
    if (std::string_view(arguments[i]) == "avx2") kernels::set_kernel_mode(kernels::KernelMode::avx2);
    if (std::string_view(arguments[i]) == "bf16") dtype = at::kBFloat16;
  }
  set_thread_count(threads);
  at::set_num_threads(thread_count());
  const auto set = kernels::instruction_set_name(kernels::instruction_set());
  std::printf("%s, %d threads, %.*s kernels, %s, medians of %d alternating rounds\n", cpu_name().c_str(),
              thread_count(), static_cast<int>(set.size()), set.data(), dtype == at::kFloat ? "float32" : "bfloat16",
              rounds);
  compare(1, 128, rounds, dtype);
  compare(1, 512, rounds, dtype);
  compare(1, 2048, rounds, dtype);
  compare(8, 64, rounds, dtype);
  return 0;
}
