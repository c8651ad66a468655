// Options, the comparison, and the two benchmarks of a pair.
#include "harness.hpp"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <string_view>

#include "base/error.hpp"
#include "base/machine.hpp"
#include "base/parallel.hpp"
#include "kernels/mode.hpp"
#include "pair_table.hpp"

namespace lorica::bench {
namespace {

struct Options {
  int threads = 0;  ///< 0: the available cores
  kernels::KernelMode mode = kernels::KernelMode::automatic;
};

kernels::KernelMode mode_of(std::string_view name) {
  using enum kernels::KernelMode;
  if (name == "auto") return automatic;
  if (name == "avx512") return avx512;
  if (name == "avx2") return avx2;
  if (name == "reference") return reference;
  raise<ConfigError>("--kernels {}: auto, avx512, avx2 or reference", name);
}

int threads_of(std::string_view text) {
  int threads = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), threads);
  if (error != std::errc() || end != text.data() + text.size() || threads < 1) {
    raise<ConfigError>("--threads {}: a positive number", text);
  }
  return threads;
}

/// Takes ours out of `arguments`; both `--name value` and `--name=value`.
Options take_options(std::vector<char*>& arguments) {
  Options options;
  std::vector<char*> others;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    const auto equals = argument.find('=');
    const auto name = argument.substr(0, equals);
    if (i == 0 || (name != "--threads" && name != "--kernels")) {
      if (name == "--benchmark_format") raise<ConfigError>("{}: use --benchmark_out=FILE for every run", argument);
      others.push_back(arguments[i]);
      continue;
    }
    if (equals == argument.npos && i + 1 == arguments.size()) raise<ConfigError>("{} needs a value", name);
    const std::string_view value = equals == argument.npos ? arguments[++i] : argument.substr(equals + 1);
    if (name == "--threads") options.threads = threads_of(value);
    if (name == "--kernels") options.mode = mode_of(value);
  }
  arguments = others;
  return options;
}

void apply(const Options& options) {
  kernels::set_kernel_mode(options.mode);
  set_thread_count(options.threads > 0 ? options.threads : available_cores());
  set_patient(kernels::has_kernels());  // as in training
  if (options.mode == kernels::KernelMode::avx2) {
    // Read by the libraries at their first call.
    ::setenv("ATEN_CPU_CAPABILITY", "avx2", 1);
    for (const char* name : {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"}) {
      ::setenv(name, "AVX2", 1);
    }
  }
  at::set_num_threads(thread_count());
  at::manual_seed(1);
  // Memory that is freed stays with the process; else ATen's temporaries would be page faults above all.
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, -1);
}

/// What differs, or nothing.
std::string difference(const std::vector<at::Tensor>& ours, const std::vector<at::Tensor>& aten,
                       const Tolerance& tolerance) {
  if (ours.size() != aten.size()) return fmt::format("{} results, not {}", ours.size(), aten.size());
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (ours[i].sizes() != aten[i].sizes()) return fmt::format("result {} has another shape", i);
    const auto dtype = ours[i].scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const auto own = ours[i].detach().to(dtype), other = aten[i].detach().to(dtype);
    const auto size = other.abs();
    const auto bound = size * tolerance.each + size.amax() * tolerance.largest;
    const auto distance = (own - other).abs();
    const auto far = distance.le(bound).logical_not();  // so a NaN is far
    const auto count = far.sum().item<std::int64_t>();
    if (static_cast<double>(count) > tolerance.others * static_cast<double>(far.numel())) {
      return fmt::format("result {}: {} of {} values differ, by up to {:.3g}; the largest is {:.3g}", i, count,
                         far.numel(), distance.amax().item<double>(), size.amax().item<double>());
    }
  }
  return {};
}

void measure(benchmark::State& state, Case& item, bool own, LimitMeter& meter) {
  const Pair* pair = item.pair();
  if (!pair) {
    state.SkipWithError(item.fault().c_str());
    return;
  }
  const bool products = item.work.flops > 0;
  products ? meter.multiply_add() : meter.stream();
  const auto& call = own ? pair->ours : pair->aten;
  call();  // the other side's threads go to sleep, and the caches hold what this one leaves there
  for (auto _ : state) benchmark::DoNotOptimize(call());
  using benchmark::Counter;
  const double work = products ? item.work.flops : item.work.bytes;
  const double limit = products ? meter.limits().flops : meter.limits().bytes;
  state.counters[products ? "GFLOP/s" : "GB/s"] = Counter(work * 1e-9, Counter::kIsIterationInvariantRate);
  if (limit > 0) state.counters["share"] = Counter(work / limit, Counter::kIsIterationInvariantRate);
}

int run(std::vector<char*> arguments, const std::function<void(Suite&)>& add_pairs) {
  apply(take_options(arguments));
  // The user's own come later and win.
  std::array<char[64], 3> defaults = {"--benchmark_repetitions=5", "--benchmark_min_time=0.1",
                                      "--benchmark_enable_random_interleaving=true"};
  for (std::size_t i = 0; i < defaults.size(); ++i) arguments.insert(arguments.begin() + 1, defaults[i]);
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;

  LimitMeter meter(thread_count(), kernels::kernel_mode() == kernels::KernelMode::avx2);
  const auto machine = fmt::format("{}, {} thread{}; ours: {} kernels, ATen: {}", cpu_name(), thread_count(),
                                   thread_count() == 1 ? "" : "s",
                                   kernels::instruction_set_name(kernels::instruction_set()), at::get_cpu_capability());
  benchmark::AddCustomContext("machine", machine);
  Suite suite(meter);
  add_pairs(suite);
  PairTable table(thread_count() == 1);
  for (const auto& item : suite.cases()) table.add_row(item->name);
  benchmark::RunSpecifiedBenchmarks(&table);
  bool any_void = false;
  for (const auto& item : suite.cases()) {
    if (item->fault().empty()) continue;
    table.mark_void(item->name, item->fault());
    any_void = true;
  }
  if (!table.empty()) fmt::print("{}\n{}", machine, table.text(meter.limits()));
  return any_void ? 1 : 0;
}

}  // namespace

const Pair* Case::pair() {
  if (!pair_ && fault_.empty()) {
    try {
      pair_ = make_();
      fault_ = difference(pair_->ours(), pair_->aten(), pair_->tolerance);
    } catch (const std::exception& error) {
      fault_ = error.what();
    }
  }
  return fault_.empty() ? &*pair_ : nullptr;
}

void Suite::add(const std::string& name, Work work, std::function<Pair()> make) {
  const auto item = cases_.emplace_back(std::make_shared<Case>(name, work, std::move(make)));
  for (const bool own : {true, false}) {
    const auto body = [item, own, &meter = meter_](benchmark::State& state) { measure(state, *item, own, meter); };
    auto* added = benchmark::RegisterBenchmark(((own ? "ours/" : "aten/") + name).c_str(), body);
    added->Unit(benchmark::kMillisecond);
    if (thread_count() > 1) added->UseRealTime();
  }
}

int run_pairs(int count, char** arguments, const std::function<void(Suite&)>& add_pairs) {
  try {
    return run({arguments, arguments + count}, add_pairs);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", arguments[0], error.what());
    return 2;
  }
}

Tolerance tolerance_of_sum(std::int64_t terms) {
  return {4 * kFloatEpsilon * std::sqrt(static_cast<double>(terms)), 0, 0};
}

}  // namespace lorica::bench
