// Our matrix product with float32 and NF4 weights against ATen's (MKL's): alternately in one run, medians and ratios.
// Usage: gemm_bench [tokens] [rounds] [threads] [avx2]. Shapes are Qwen2.5-0.5B's linear layers. With one thread its
// processor time is what counts, so that other programs on the machine matter less; with more, the time on the wall.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <vector>

#include "base/machine.hpp"
#include "base/parallel.hpp"
#include "kernels/gemm.hpp"
#include "kernels/mode.hpp"
#include "quant/weight.hpp"

namespace {

using namespace lorica;

double now() {
  timespec time{};
  ::clock_gettime(thread_count() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double seconds_of(const std::function<void()>& body) {
  const double start = now();
  body();
  return now() - start;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Candidate {
  const char* name;
  std::function<void()> run;
  std::vector<double> times;
};

void compare(std::int64_t tokens, std::int64_t in, std::int64_t out, int rounds) {
  const auto x = at::randn({tokens, in}), dy = at::randn({tokens, out}), w = at::randn({out, in});
  auto y = at::empty({tokens, out}), dx = at::empty({tokens, in});
  const auto stored = quant::store(w, {quant::Kind::nf4, at::kFloat, 64, false});
  const auto source = [](const at::Tensor& t) {
    return kernels::dense_matrix(t.data_ptr(), kernels::FloatType::f32, t.size(0), t.size(1), t.size(1));
  };
  const auto nf4 = kernels::packed_matrix(kernels::Code4::nf4, stored.data.data_ptr<std::uint8_t>(),
                                          stored.absmax.data_ptr<float>(), 64, out, in);
  const auto wt = w.t();
  std::vector<Candidate> candidates = {
      {"aten x·Wᵀ", [&] { at::mm_out(y, x, wt); }, {}},
      {"ours x·Wᵀ", [&] { kernels::gemm(source(x), transposed(source(w)), 0, y.data_ptr<float>(), out); }, {}},
      {"aten x·dequantize(NF4)ᵀ", [&] { at::mm_out(y, x, quant::dequantize(stored, at::kFloat).t()); }, {}},
      {"ours x·NF4ᵀ", [&] { kernels::gemm(source(x), transposed(nf4), 0, y.data_ptr<float>(), out); }, {}},
      {"aten dy·W", [&] { at::mm_out(dx, dy, w); }, {}},
      {"ours dy·W", [&] { kernels::gemm(source(dy), source(w), 0, dx.data_ptr<float>(), in); }, {}},
      {"aten dy·dequantize(NF4)", [&] { at::mm_out(dx, dy, quant::dequantize(stored, at::kFloat)); }, {}},
      {"ours dy·NF4", [&] { kernels::gemm(source(dy), nf4, 0, dx.data_ptr<float>(), in); }, {}},
  };
  for (int round = -1; round < rounds; ++round) {  // the first one warms up
    for (auto& candidate : candidates) {
      const double time = seconds_of(candidate.run);
      if (round >= 0) candidate.times.push_back(time);
    }
  }
  const double flops = 2.0 * static_cast<double>(tokens * in * out);
  for (std::size_t i = 0; i < candidates.size(); i += 2) {
    const double peer = median(candidates[i].times), ours = median(candidates[i + 1].times);
    std::printf("%5ld tokens %5ld -> %5ld  %-24s %7.1f GFLOP/s   %-14s %7.1f GFLOP/s   ratio %.2f\n", tokens, in, out,
                candidates[i].name, flops / peer * 1e-9, candidates[i + 1].name, flops / ours * 1e-9, peer / ours);
  }
}

}  // namespace

int main(int count, char** arguments) {
  const std::int64_t tokens = count > 1 ? std::atol(arguments[1]) : 512;
  const int rounds = count > 2 ? std::atoi(arguments[2]) : 15;
  const int threads = count > 3 ? std::atoi(arguments[3]) : available_cores();
  if (tokens < 1 || rounds < 1 || threads < 1) {
    std::fprintf(stderr, "usage: gemm_bench [tokens] [rounds] [threads] [avx2], the numbers positive\n");
    return 2;
  }
  set_thread_count(threads);
  if (count > 4 && std::string_view(arguments[4]) == "avx2") kernels::set_kernel_mode(kernels::KernelMode::avx2);
  at::set_num_threads(thread_count());
  const auto set = kernels::instruction_set_name(kernels::instruction_set());
  std::printf("%s, %d threads, %.*s kernels, medians of %d alternating rounds\n", cpu_name().c_str(), thread_count(),
              static_cast<int>(set.size()), set.data(), rounds);
  for (const auto& [in, out] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{896, 896}, {896, 4864}, {4864, 896}, {896, 128}}) {
    compare(tokens, in, out, rounds);
  }
  return 0;
}
