// The Engine over LibTorch: a model, an executor and an optimizer.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "engine/cuda/memory.hpp"
#include "engine/plan/recompute_choice.hpp"
#include "engine/scope.hpp"
#include "engine/torch/device_failure.hpp"
#include "engine/torch/executor.hpp"
#include "engine/torch/host_allocator.hpp"
#include "engine/torch/sampling.hpp"
#include "engine/torch/saving.hpp"
#include "engine/torch/state_files.hpp"
#include "engine/torch/verification.hpp"
#include "kernels/mode.hpp"
#include "model/layer_costs.hpp"
#include "model/ops/linear_group.hpp"
#include "model/scope.hpp"
#include "optim/clip.hpp"
#include "parallel/place.hpp"
#include "quant/dtype_name.hpp"

namespace lorica::engine {
namespace {

optim::OptimizerOptions optimizer_options(const config::Config& config) {
  auto options = optim::OptimizerOptions::defaults(config.optimizer);
  options.weight_decay = config.wd;
  options.beta1 = options.rho = config.beta1;
  options.beta2 = config.beta2;
  options.momentum = config.momentum;
  options.epsilon = config.eps;
  return options;
}

kernels::KernelMode kernel_mode(config::Kernels asked) {
  switch (asked) {
    case config::Kernels::reference:
      return kernels::KernelMode::reference;
    case config::Kernels::avx2:
      return kernels::KernelMode::avx2;
    case config::Kernels::avx512:
      return kernels::KernelMode::avx512;
    case config::Kernels::automatic:
      break;
  }
  return kernels::KernelMode::automatic;
}

ExecutorOptions executor_options(const config::Config& asked, const Model& model, int processes) {
  ExecutorOptions options;
  const auto config = with_settled_recompute(asked, processes);
  options.policy = config::recompute_policy(config);
  options.narrow = keeps_narrow(config, model.device);
  options.dropout = model.adapter ? model.adapter->dropout : 0;
  options.seed = static_cast<std::uint64_t>(config.seed);
  options.logits_bytes = config.logits_chunk_mb << 20;
  options.offload_activations = config.use_activation_cpu_offload;
  options.prefetch_blocks = static_cast<int>(config.prefetch_blocks);
  return options;
}

class TorchEngine : public Engine {
 public:
  TorchEngine(const config::Config& config, Purpose purpose, parallel::World* world)
      : config_(config),
        world_(world != nullptr && world->size() > 1 ? world : nullptr),
        model_(
            on_device({&config_, at::kCPU, "loading the model"}, [&] { return build_model(config, purpose, world_); })),
        executor_(model_, executor_options(config, model_, parallel::find_place(config).local_world)),
        optimizer_(optimizer_options(config)) {}

  ModelFacts facts() const override {
    ModelFacts facts;
    const auto& arch = model_.architecture;
    facts.family = arch.family;
    facts.parameters = model::parameter_count(arch);
    facts.trainable = model_.trained_elements;
    facts.layers = arch.layer_count();
    facts.vocabulary = arch.vocabulary;
    facts.max_positions = arch.max_positions;
    facts.eos_ids = arch.eos_ids;
    facts.device = model_.device.str();
    facts.storage = model_.storage;
    facts.compute = quant::dtype_name(model_.compute);
    facts.adapted = model_.adapted;
    facts.recompute = config::name_of(executor_.policy());
    facts.account = model_.account;
    return facts;
  }

  MemoryReport memory() const override {
    const auto held = model_.store->bytes();
    MemoryReport report{held.weights, held.trained, held.gradients, 0, held.gathered_peak};
    if (model_.device.is_cpu()) report.tensors = host_memory().live;
    report.optimizer = static_cast<std::uint64_t>(optimizer_.memory_bytes());
    if (model_.device.is_cuda()) {
      const auto device = cuda::device_memory(model_.device.index());
      report.tensors = device.allocated;
      report.device_allocated_peak = device.peak_allocated;
      report.device_reserved_peak = device.peak_reserved;
    }
    return report;
  }

  DistributionReport distribution() const override;
  double matrix_flops(const data::MicroBatch& batch) const override;

  std::vector<LossSum> forward_backward(std::span<const data::MicroBatch> batches, double loss_scale, std::int64_t step,
                                        std::optional<double> early_lr) override;
  void rehearse(std::span<const data::MicroBatch> batches, std::int64_t step, bool early) override;
  UpdateResult optimizer_step(double lr, std::optional<double> max_norm) override;

  std::vector<LossSum> evaluate(std::span<const data::MicroBatch> batches) override {
    return on_device(use("evaluating a micro-batch", batches), [&] {
      auto sums = executor_.evaluate(batches);
      model_.store->finish_step();
      return sums;
    });
  }

  std::vector<float> logits(const data::MicroBatch& batch) override {
    const auto result =
        on_device(use("computing logits", {&batch, 1}), [&] { return logits_of(batch).cpu().contiguous(); });
    return {result.const_data_ptr<float>(), result.const_data_ptr<float>() + result.numel()};
  }

  std::vector<std::int32_t> generate(const std::vector<std::int32_t>& prompt, const GenerationOptions& options,
                                     const std::function<bool(std::int32_t)>& on_token) override;

  void save_model(const std::filesystem::path& folder) override {
    save_trained(model_, world_, folder, config_.shard_size);
  }

  bool adapter_is_zero() const override;
  void save_state(const std::filesystem::path& folder) override;
  void load_state(const std::filesystem::path& folder) override;
  SavedCheck verify_saved(const std::filesystem::path& folder, const data::MicroBatch& probe) override {
    return engine::verify_saved(model_, executor_, world_, folder, probe);
  }

 private:
  /// Updates that were made during backward.
  struct EarlyUpdates {
    double squares = 0;  ///< of their gradients
    int count = 0;
    std::string stopped_at;  ///< the parameter whose gradient isn't finite; none is updated from there on
  };
  bool updates_early() const { return world_ == nullptr && !model_.adapter && model_.store->hands_over(); }
  void update_early(optim::TrainableParameter& parameter, double lr);
  void sum_tied_gradients();
  UpdateResult update(double lr, std::optional<double> max_norm);
  double norm_over_all(std::span<const optim::TrainableParameter> parameters) const;
  /// Undefined on pipeline stages but the last.
  at::Tensor logits_of(const data::MicroBatch& batch) {
    auto result = executor_.logits(batch);
    model_.store->finish_step();
    return result;
  }

  /// For what is said when the device fails.
  DeviceUse use(const char* activity, std::span<const data::MicroBatch> batches) const {
    std::int64_t tokens = 0;
    for (const auto& batch : batches) tokens = std::max<std::int64_t>(tokens, batch.tokens());
    return {&config_, model_.device, activity, tokens};
  }

  config::Config config_;
  parallel::World* world_;  ///< null: alone
  Model model_;
  Executor executor_;
  optim::Optimizer optimizer_;
  EarlyUpdates early_;
};

std::vector<LossSum> TorchEngine::forward_backward(std::span<const data::MicroBatch> batches, double loss_scale,
                                                   std::int64_t step, std::optional<double> early_lr) {
  early_ = {};
  const bool early = early_lr && updates_early();
  if (early) {
    model_.store->hand_over([this, early_lr](optim::TrainableParameter& each) { update_early(each, *early_lr); });
  }
  auto sums = on_device(use("training a micro-batch", batches), [&] {
    auto found = executor_.forward_backward(batches, loss_scale, step);
    sum_tied_gradients();
    return found;
  });
  if (early) model_.store->hand_over({});
  return sums;
}

void TorchEngine::update_early(optim::TrainableParameter& parameter, double lr) {
  if (!early_.stopped_at.empty()) return;
  const model::Scope scope(scopes::kOptimizer);
  const std::span<optim::TrainableParameter> one(&parameter, 1);
  const double squares = optim::squared_gradient_norm(one);
  early_.squares += squares;
  if (std::isfinite(squares)) {
    optimizer_.step(one, lr);
    ++early_.count;
  } else {
    early_.stopped_at = parameter.name;
  }
}

void TorchEngine::rehearse(std::span<const data::MicroBatch> batches, std::int64_t step, bool early) {
  early = early && updates_early();
  if (early) model_.store->hand_over([](optim::TrainableParameter&) {});
  on_device(use("training a micro-batch", batches), [&] { return executor_.forward_backward(batches, 0, step); });
  if (early) model_.store->hand_over({});
  model_.store->clear_gradients();
}

double TorchEngine::matrix_flops(const data::MicroBatch& batch) const {
  const auto& arch = model_.architecture;
  const auto tokens = static_cast<double>(batch.tokens());
  double flops = 0;
  const auto specs = model::describe_blocks(arch);
  bool below_trains = model_.trains[0];
  for (std::size_t b = 1; b < specs.size(); ++b) {
    const bool trains = model_.trains[b];
    if (!owns(model_, b)) {
      below_trains = below_trains || trains;
      continue;
    }
    // Forward, the gradient of the input where anything at or below is trained, and of the weight where it is trained
    // itself.
    const double input_passes = 1 + (below_trains || trains ? 1 : 0);
    const bool head = specs[b].kind == model::BlockSpec::Kind::head;
    const double products = input_passes + (trains && !model_.adapter ? 1 : 0);
    flops += model::product_flops(specs[b]) * (head ? static_cast<double>(batch.supervised()) : tokens) * products;
    for (std::size_t s = 0; !head && s + 1 < batch.offsets.size(); ++s) {
      const double length = batch.offsets[s + 1] - batch.offsets[s];
      flops += model::attention_flops(arch, specs[b].layer, length) * (2 * input_passes - 1);
    }
    below_trains = below_trains || trains;
  }
  for (const auto& parameter : model_.store->parameters()) {
    if (parameter.name.find(".lora_") != std::string::npos) {
      flops += 6.0 * static_cast<double>(parameter.stored->elements()) * tokens;
    }
  }
  return flops;
}

std::vector<std::int32_t> TorchEngine::generate(const std::vector<std::int32_t>& prompt,
                                                const GenerationOptions& options,
                                                const std::function<bool(std::int32_t)>& on_token) {
  if (prompt.empty()) throw DataError("the prompt has no tokens: give some text");
  for (const auto id : prompt) {
    if (id < 0 || id >= model_.architecture.vocabulary) {
      raise<DataError>(
          "the prompt holds token {}, but the model's embedding has {} rows: the tokenizer belongs to another model",
          id, model_.architecture.vocabulary);
    }
  }
  std::vector<model::LayerCache> cache(model_.architecture.layers.size());
  std::vector<std::int32_t> generated, next = prompt;
  std::int64_t position = 0;
  while (static_cast<std::int64_t>(generated.size()) < options.max_new_tokens) {
    const auto logits = on_device(use("generating text", {}),
                                  [&] { return executor_.next_logits(next, position, cache).cpu().contiguous(); });
    position += static_cast<std::int64_t>(next.size());
    const auto id =
        sample({logits.const_data_ptr<float>(), static_cast<std::size_t>(logits.numel())}, options, generated.size());
    if (std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end()) break;
    generated.push_back(id);
    if (on_token && !on_token(id)) break;
    next = {id};
  }
  return generated;
}

/// The tied embedding is on the first and the last stage: one weight, one gradient.
void TorchEngine::sum_tied_gradients() {
  if (!model_.groups.tied) return;
  const model::Scope scope(scopes::kReduce);
  for (const auto& parameter : model_.store->trainable()) {
    if (parameter.name != model_.tied_name) continue;
    auto gradient = parameter.gradient.defined() ? parameter.gradient.clone() : at::zeros_like(parameter.value);
    model_.groups.tied->all_reduce(gradient).wait();
    model_.store->set_gradient(parameter.name, gradient);
  }
}

/// The L2 norm of the gradients of all shards and stages, each counted once.
double TorchEngine::norm_over_all(std::span<const optim::TrainableParameter> parameters) const {
  const model::Scope scope(scopes::kGradientNorm);
  if (world_ == nullptr) return std::sqrt(early_.squares + optim::squared_gradient_norm(parameters));
  std::vector<optim::TrainableParameter> counted;
  for (const auto& parameter : parameters) {
    if (!is_repeated(model_, parameter.name)) counted.push_back(parameter);
  }
  double total = 0;
  for (const auto& values : world_->all_gather({optim::squared_gradient_norm(counted)})) total += values.front();
  return std::sqrt(total / model_.mesh.replicas);
}

UpdateResult TorchEngine::optimizer_step(double lr, std::optional<double> max_norm) {
  return on_device(use("updating the weights", {}), [&] { return update(lr, max_norm); });
}

UpdateResult TorchEngine::update(double lr, std::optional<double> max_norm) {
  at::NoGradGuard no_graph;
  auto parameters = model_.store->trainable();
  UpdateResult result;
  result.gradient_norm = norm_over_all(parameters);
  if (!early_.stopped_at.empty()) {
    raise<TrainingError>(
        "the gradient of '{}' holds an infinity or NaN: the update stopped there, with {} tensors nearer the output "
        "changed already. Lower the learning rate, or check the data of this step",
        early_.stopped_at, early_.count);
  }
  if (!std::isfinite(result.gradient_norm)) {
    std::vector<std::string> culprits{optim::first_non_finite(parameters)};
    if (world_ != nullptr) culprits = world_->all_gather_text(culprits.front());
    const auto named = std::find_if(culprits.begin(), culprits.end(), [](const auto& name) { return !name.empty(); });
    optim::raise_non_finite(named == culprits.end() ? "" : *named, result.gradient_norm);
  }
  const model::Scope scope(scopes::kOptimizer);
  if (max_norm.value_or(0) > 0) optim::scale_gradients(parameters, result.gradient_norm, *max_norm);
  optimizer_.step(parameters, lr);
  model_.store->clear_gradients();
  return result;
}

DistributionReport TorchEngine::distribution() const {
  DistributionReport report;
  report.stage = model_.mesh.stage;
  report.replica = model_.mesh.replica;
  report.shard = model_.mesh.shard;
  const auto& groups = model_.groups;
  if (groups.gather) report.gathered = groups.gather->traffic().gathered;
  for (const auto* group : {groups.reduce.get(), groups.replicas.get(), groups.tied.get()}) {
    if (group != nullptr) report.reduced += group->traffic().reduced;
  }
  if (model_.pipeline) report.messages = model_.pipeline->traffic().messages;
  report.gather_wait = model_.store->gather_wait();
  const auto facts = executor_.pipeline_facts();
  report.idle_share = facts.idle_share;
  report.bubble = facts.bubble;
  return report;
}

bool TorchEngine::adapter_is_zero() const {
  if (model_.adapted.empty()) return false;
  double nonzero = 0;
  for (const auto& parameter : model_.store->trainable()) {
    if (parameter.name.ends_with(".lora_B.weight")) {
      nonzero += static_cast<double>(parameter.value.count_nonzero().item<std::int64_t>());
    }
  }
  if (world_ == nullptr) return nonzero == 0;
  const auto all = world_->all_gather({nonzero});
  return std::all_of(all.begin(), all.end(), [](const auto& values) { return values.front() == 0; });
}

void TorchEngine::save_state(const std::filesystem::path& folder) {
  if (world_ == nullptr || model_.adapter) save_model(folder);
  if (world_ == nullptr) {
    save_optimizer(optimizer_.state(), folder);
  } else {
    save_pieces(model_, optimizer_, folder);
  }
}

/// All or nothing: everything is checked before the first value is set, and set one tensor at a time, so that nothing
/// is held twice.
void TorchEngine::load_state(const std::filesystem::path& folder) {
  at::NoGradGuard no_graph;
  const SavedState saved(model_, folder);
  std::map<std::string, const Parameter*> parameters;
  for (const auto& parameter : model_.store->parameters()) {
    if (!parameter.trained) continue;
    saved.check(parameter);
    parameters[parameter.name] = &parameter;
  }
  const auto trainable = model_.store->trainable();
  optimizer_.load_state(saved.optimizer(model_, optim::slot_names(optimizer_.options())), trainable);
  for (const auto& each : trainable) {
    at::Tensor(each.value).copy_(saved.value(*parameters.at(each.name), model_.store->rows(each.name)));
  }
}

}  // namespace

std::unique_ptr<Engine> make_engine(const config::Config& config, Purpose purpose, parallel::World* world) {
  use_host_allocator();
  at::set_num_threads(thread_count());
  kernels::set_kernel_mode(kernel_mode(config.kernels));
  // Where products run in our kernels, nobody else wants the cores between them; LibTorch's own run on its threads.
  const auto device = choose_device(config);
  if (purpose != Purpose::probe) report_precision(config, device);
  set_patient(device.is_cpu() && compute_dtype(config, device) == at::kFloat && kernels::has_kernels());
  return std::make_unique<TorchEngine>(config, purpose, world);
}

double measure_matrix_speed(const config::Config& config) {
  const auto device = choose_device(config);
  const auto options = at::TensorOptions().device(device).dtype(compute_dtype(config, device));
  const std::int64_t size = device.is_cpu() ? 1024 : 8192;
  const model::Value x{at::ones({size, size}, options), {}};
  const auto stored = std::make_shared<quant::StoredWeight>(quant::dense_weight(at::ones({size, size}, options)));
  const model::Weight weight{stored, {}};
  const at::NoGradGuard no_graph;
  auto y = model::base_linear(x, weight, {});
  y[0][0].item();
  const auto start = std::chrono::steady_clock::now();
  double seconds = 0;
  std::int64_t products = 0;
  while (seconds < 0.3) {
    y = model::base_linear(x, weight, {});
    ++products;
    if (products % 4 == 0) {
      y[0][0].item();
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  }
  return 2.0 * std::pow(static_cast<double>(size), 3) * static_cast<double>(products) / seconds / 1e9;
}

}  // namespace lorica::engine
