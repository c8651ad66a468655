// 4-bit quantization: our kernels by instruction set, the ATen composition, and copying memory as the limit.
// "bytes" counts what is read and written once; a working set of 64 MiB of float32 lies beyond the caches.
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "base/machine.hpp"
#include "base/parallel.hpp"
#include "kernels/mode.hpp"
#include "quant/composed.hpp"
#include "quant/weight.hpp"

namespace {

using namespace lorica;

constexpr std::int64_t kRows = 4096, kColumns = 4096, kValues = kRows * kColumns;

const at::Tensor& values(at::ScalarType dtype) {
  static const at::Tensor source = at::randn({kRows, kColumns});
  static const at::Tensor brain = source.to(at::kBFloat16);
  return dtype == at::kFloat ? source : brain;
}

at::ScalarType dtype_of(const benchmark::State& state) {
  return state.range(0) == 0 ? at::kFloat : at::kBFloat16;
}

void set_mode(benchmark::State& state) {
  const auto mode = static_cast<kernels::KernelMode>(state.range(1));
  try {
    kernels::set_kernel_mode(mode);
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
  state.SetLabel(std::string(kernels::instruction_set_name(kernels::instruction_set())));
}

void count_bytes(benchmark::State& state) {
  const std::int64_t bytes = kValues * static_cast<std::int64_t>(at::elementSize(dtype_of(state))) + kValues / 2;
  state.SetBytesProcessed(state.iterations() * bytes);
  state.counters["values/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * kValues), benchmark::Counter::kIsRate);
}

void quantize(benchmark::State& state) {
  set_mode(state);
  const auto& source = values(dtype_of(state));
  const quant::WeightFormat format{quant::Kind::nf4, dtype_of(state), 64, true};
  for (auto _ : state) benchmark::DoNotOptimize(quant::store(source, format).data.data_ptr());
  count_bytes(state);
  kernels::set_kernel_mode(kernels::KernelMode::automatic);
}

void quantize_composed(benchmark::State& state) {
  const auto& source = values(dtype_of(state));
  for (auto _ : state) {
    benchmark::DoNotOptimize(quant::quantize_4bit_composed(kernels::Code4::nf4, source, 64).first.data_ptr());
  }
  count_bytes(state);
}

void dequantize(benchmark::State& state) {
  set_mode(state);
  const auto stored = quant::store(values(dtype_of(state)), {quant::Kind::nf4, dtype_of(state), 64, false});
  auto out = at::empty({kRows, kColumns}, dtype_of(state));
  const auto type = dtype_of(state) == at::kFloat ? kernels::FloatType::f32 : kernels::FloatType::bf16;
  for (auto _ : state) {
    kernels::dequantize_4bit(kernels::Code4::nf4, stored.data.data_ptr<std::uint8_t>(), stored.absmax.data_ptr<float>(),
                             kValues, 64, type, out.data_ptr());
    benchmark::ClobberMemory();
  }
  count_bytes(state);
  kernels::set_kernel_mode(kernels::KernelMode::automatic);
}

void dequantize_composed(benchmark::State& state) {
  const auto stored = quant::store(values(dtype_of(state)), {quant::Kind::nf4, dtype_of(state), 64, false});
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        quant::dequantize_4bit_composed(kernels::Code4::nf4, stored.data, stored.absmax, kValues, 64, dtype_of(state))
            .data_ptr());
  }
  count_bytes(state);
}

/// The limit: memcpy on all threads, bytes read plus bytes written.
void copy_memory(benchmark::State& state) {
  const auto& source = values(at::kFloat);
  auto target = at::empty_like(source);
  const auto* from = static_cast<const char*>(source.data_ptr());
  auto* to = static_cast<char*>(target.data_ptr());
  const auto bytes = static_cast<std::int64_t>(source.nbytes());
  for (auto _ : state) {
    parallel_for(bytes, 1 << 20, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin));
    });
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * bytes * 2);
}

void with_modes(benchmark::internal::Benchmark* b) {
  b->ArgsProduct({{0, 1}, {1, 2, 3}})->ArgNames({"bf16", "mode"})->Unit(benchmark::kMillisecond)->UseRealTime();
}
void with_dtypes(benchmark::internal::Benchmark* b) {
  b->Arg(0)->Arg(1)->ArgName("bf16")->Unit(benchmark::kMillisecond)->UseRealTime();
}

BENCHMARK(copy_memory)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(quantize)->Apply(with_modes);
BENCHMARK(quantize_composed)->Apply(with_dtypes);
BENCHMARK(dequantize)->Apply(with_modes);
BENCHMARK(dequantize_composed)->Apply(with_dtypes);

}  // namespace

int main(int count, char** arguments) {
  benchmark::AddCustomContext("cpu", lorica::cpu_name());
  benchmark::AddCustomContext("threads", std::to_string(lorica::thread_count()));
  at::set_num_threads(lorica::thread_count());
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
