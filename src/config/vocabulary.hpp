// The vocabulary that the option table shares with the layers that act on it: each enumeration with the names of its
// values beside it. There is one enumeration for each thing; option rows, layers and messages all use these names. A
// value that a layer doesn't act on fails to compile there, as it switches over the enumeration without a default.
#pragma once

#include <array>
#include <string_view>

namespace lorica::config {

template <class Enum>
struct Word {
  Enum value;
  std::string_view name;
};

enum class Command { train, merge, generate, forward, tokenize, report, options, plan };
constexpr auto words_of(Command) {
  return std::to_array<Word<Command>>({{Command::train, "train"},
                                       {Command::generate, "generate"},
                                       {Command::merge, "merge"},
                                       {Command::report, "report"},
                                       {Command::tokenize, "tokenize"},
                                       {Command::forward, "forward"},
                                       {Command::plan, "plan"},
                                       {Command::options, "options"}});
}

enum class Preset { fsdp_qlora, qlora_pipe_lite, qlora_evolved };
constexpr auto words_of(Preset) {
  return std::to_array<Word<Preset>>({{Preset::fsdp_qlora, "fsdp_qlora"},
                                      {Preset::qlora_pipe_lite, "qlora-pipe-lite"},
                                      {Preset::qlora_evolved, "qlora-evolved"}});
}

enum class Backend { automatic, cpu, cuda, mps };
constexpr auto words_of(Backend) {
  return std::to_array<Word<Backend>>(
      {{Backend::automatic, "auto"}, {Backend::cpu, "cpu"}, {Backend::cuda, "cuda"}, {Backend::mps, "mps"}});
}

/// custom_lora and custom_qlora are other names of lora and qlora: the formula is the same.
enum class TrainType { full, lora, qlora };
constexpr auto words_of(TrainType) {
  return std::to_array<Word<TrainType>>(
      {{TrainType::full, "full"}, {TrainType::lora, "lora"}, {TrainType::qlora, "qlora"}});
}

/// What parameters are stored in, products computed in, gradients reduced in (engine: storage_dtype, compute_dtype,
/// reduce_dtype). The names with and without mp_ are fsdp_qlora's README's and its code's.
enum class Precision {
  fp32,
  bf16,
  bf16_autocast,
  bf16_buffers_autocast,
  mp_bf16_autocast,
  mp_bf16_buffers_autocast,
};
constexpr auto words_of(Precision) {
  return std::to_array<Word<Precision>>({{Precision::fp32, "fp32"},
                                         {Precision::bf16, "bf16"},
                                         {Precision::bf16_autocast, "bf16_autocast"},
                                         {Precision::bf16_buffers_autocast, "bf16_buffers_autocast"},
                                         {Precision::mp_bf16_autocast, "mp_bf16_autocast"},
                                         {Precision::mp_bf16_buffers_autocast, "mp_bf16_buffers_autocast"}});
}

/// Of compute_dtype, lora_weight_dtype, reduce_dtype and merge's dtype; what `automatic` means, their help says.
enum class DataType { automatic, float32, bfloat16, float16 };
constexpr auto words_of(DataType) {
  return std::to_array<Word<DataType>>({{DataType::automatic, "auto"},
                                        {DataType::float32, "float32"},
                                        {DataType::bfloat16, "bfloat16"},
                                        {DataType::float16, "float16"}});
}

/// The code of a 4-bit weight: what the sixteen values stand for (kernels/blockwise_4bit.hpp).
/// Weight formats by their names in quant/formats/registry.cpp.
enum class QuantType { nf4, fp4, int8 };
constexpr auto words_of(QuantType) {
  return std::to_array<Word<QuantType>>({{QuantType::nf4, "nf4"}, {QuantType::fp4, "fp4"}, {QuantType::int8, "int8"}});
}

/// How the learning rate goes on after its warm-up. `constant` has none unless one is asked for.
enum class Scheduler {
  constant,
  constant_with_warmup,
  linear,
  cosine,
  cosine_with_restarts,
  polynomial,
  exponential,
};
constexpr auto words_of(Scheduler) {
  return std::to_array<Word<Scheduler>>({{Scheduler::constant, "constant"},
                                         {Scheduler::constant_with_warmup, "constant_with_warmup"},
                                         {Scheduler::linear, "linear"},
                                         {Scheduler::cosine, "cosine"},
                                         {Scheduler::cosine_with_restarts, "cosine_with_restarts"},
                                         {Scheduler::polynomial, "polynomial"},
                                         {Scheduler::exponential, "exponential"}});
}

enum class OptimizerKind { adamw, adam, sgd, adadelta };
constexpr auto words_of(OptimizerKind) {
  return std::to_array<Word<OptimizerKind>>({{OptimizerKind::adamw, "adamw"},
                                             {OptimizerKind::adam, "adam"},
                                             {OptimizerKind::sgd, "sgd"},
                                             {OptimizerKind::adadelta, "adadelta"}});
}

/// What a decoder layer keeps for its backward: all that autograd asks for (keep); its input alone (recompute); the
/// outputs of matrix products (selective), and backward runs what is missing again. `automatic` follows
/// use_gradient_checkpointing: see recompute_policy(), and engine/plan/recompute_choice.hpp.
enum class Recompute { automatic, keep, recompute, selective };
constexpr auto words_of(Recompute) {
  return std::to_array<Word<Recompute>>({{Recompute::automatic, "auto"},
                                         {Recompute::keep, "keep"},
                                         {Recompute::recompute, "recompute"},
                                         {Recompute::selective, "selective"}});
}

enum class DocumentAttention { isolated };
constexpr auto words_of(DocumentAttention) {
  return std::to_array<Word<DocumentAttention>>({{DocumentAttention::isolated, "isolated"}});
}

/// Which kernels run: the fastest set that the CPU has, or a chosen one.
enum class Kernels { automatic, reference, avx2, avx512 };
constexpr auto words_of(Kernels) {
  return std::to_array<Word<Kernels>>({{Kernels::automatic, "auto"},
                                       {Kernels::reference, "reference"},
                                       {Kernels::avx2, "avx2"},
                                       {Kernels::avx512, "avx512"}});
}

/// How parameters, gradients and optimizer state are spread over the data-parallel processes.
enum class Sharding { full_shard, shard_grad_op, ddp, hybrid_full_shard, hybrid_shard_grad_op };
constexpr auto words_of(Sharding) {
  return std::to_array<Word<Sharding>>({{Sharding::full_shard, "full_shard"},
                                        {Sharding::shard_grad_op, "shard_grad_op"},
                                        {Sharding::ddp, "ddp"},
                                        {Sharding::hybrid_full_shard, "hybrid_full_shard"},
                                        {Sharding::hybrid_shard_grad_op, "hybrid_shard_grad_op"}});
}

enum class LoadFormat { automatic, dummy };
constexpr auto words_of(LoadFormat) {
  return std::to_array<Word<LoadFormat>>({{LoadFormat::automatic, "auto"}, {LoadFormat::dummy, "dummy"}});
}

/// The value's name, as options and messages spell it.
template <class Enum>
constexpr std::string_view name_of(Enum value) {
  for (const auto& word : words_of(value)) {
    if (word.value == value) return word.name;
  }
  return "?";  // no enumerator at all
}

}  // namespace lorica::config
