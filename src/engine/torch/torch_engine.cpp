// The Engine over LibTorch: a model, an executor and an optimizer.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <chrono>
#include <cmath>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "engine/torch/executor.hpp"
#include "engine/torch/sampling.hpp"
#include "engine/torch/saving.hpp"
#include "engine/torch/tensor_io.hpp"
#include "io/json.hpp"
#include "kernels/mode.hpp"
#include "optim/clip.hpp"

namespace lorica::engine {
namespace {

constexpr const char* kOptimizerFile = "optimizer.safetensors";

optim::OptimizerOptions optimizer_options(const config::Config& config) {
  static const std::map<config::OptimizerKind, optim::OptimizerType> types{
      {config::OptimizerKind::adamw, optim::OptimizerType::adamw},
      {config::OptimizerKind::adam, optim::OptimizerType::adam},
      {config::OptimizerKind::sgd, optim::OptimizerType::sgd},
      {config::OptimizerKind::adadelta, optim::OptimizerType::adadelta}};
  auto options = optim::OptimizerOptions::defaults(types.at(config.optimizer));
  options.weight_decay = config.wd;
  options.beta1 = options.rho = config.beta1;
  options.beta2 = config.beta2;
  options.epsilon = config.eps;
  return options;
}

ExecutorOptions executor_options(const config::Config& config, const Model& model) {
  ExecutorOptions options;
  switch (config::recompute_policy(config)) {
    case config::Recompute::keep:
      options.policy = ActivationPolicy::keep;
      break;
    case config::Recompute::selective:
      options.policy = ActivationPolicy::selective;
      break;
    default:
      options.policy = ActivationPolicy::recompute;
  }
  options.dropout = model.adapter ? model.adapter->dropout : 0;
  options.seed = static_cast<std::uint64_t>(config.seed);
  options.logits_bytes = config.logits_chunk_mb << 20;
  options.offload_activations = config.use_activation_cpu_offload;
  options.prefetch_blocks = static_cast<int>(config.prefetch_blocks);
  return options;
}

class TorchEngine : public Engine {
 public:
  TorchEngine(const config::Config& config, Purpose purpose)
      : shard_bytes_(config.shard_size),
        model_(build_model(config, purpose == Purpose::train)),
        executor_(model_, executor_options(config, model_)),
        optimizer_(optimizer_options(config)) {}

  ModelFacts facts() const override {
    ModelFacts facts;
    const auto& arch = model_.architecture;
    facts.family = arch.family;
    facts.parameters = model::parameter_count(arch);
    for (const auto& parameter : model_.store->parameters()) {
      if (parameter.trained) facts.trainable += parameter.stored->elements();
    }
    facts.layers = arch.layers;
    facts.vocabulary = arch.vocabulary;
    facts.max_positions = arch.max_positions;
    facts.eos_ids = arch.eos_ids;
    facts.device = model_.device.str();
    facts.storage = model_.storage;
    facts.compute = c10::toString(model_.compute);
    facts.adapted = model_.adapted;
    return facts;
  }

  MemoryReport memory() const override {
    MemoryReport report;
    for (const auto& parameter : model_.store->parameters()) {
      (parameter.trained ? report.trainable : report.weights) += parameter.stored->bytes();
    }
    for (const auto& parameter : model_.store->trainable()) {
      if (parameter.gradient.defined()) report.gradients += parameter.gradient.nbytes();
    }
    report.optimizer = static_cast<std::uint64_t>(optimizer_.memory_bytes());
    return report;
  }

  double matrix_flops(const data::MicroBatch& batch) const override;

  std::vector<LossSum> forward_backward(std::span<const data::MicroBatch> batches, double loss_scale,
                                        std::int64_t step) override {
    return executor_.forward_backward(batches, loss_scale, step);
  }

  UpdateResult optimizer_step(double lr, std::optional<double> max_norm) override {
    at::NoGradGuard no_graph;
    auto parameters = model_.store->trainable();
    UpdateResult result;
    result.gradient_norm = optim::clip_gradients(parameters, max_norm.value_or(0));
    optimizer_.step(parameters, lr);
    model_.store->clear_gradients();
    return result;
  }

  void discard_gradients() override { model_.store->clear_gradients(); }
  std::vector<LossSum> evaluate(std::span<const data::MicroBatch> batches) override {
    return executor_.evaluate(batches);
  }

  std::vector<float> logits(const data::MicroBatch& batch) override {
    const auto result = executor_.logits(batch).cpu().contiguous();
    return {result.const_data_ptr<float>(), result.const_data_ptr<float>() + result.numel()};
  }

  std::vector<std::int32_t> generate(const std::vector<std::int32_t>& prompt, const GenerationOptions& options,
                                     const std::function<bool(std::int32_t)>& on_token) override;

  void save_model(const std::filesystem::path& folder) override {
    save_trained(model_, folder, shard_bytes_);
    for (const auto& [name, tensor] : read_trained(model_, folder)) {
      if (!at::equal(tensor, trained(name).cpu())) {
        raise<Error>("{}: '{}' reads back differently from what was saved", folder.string(), name);
      }
    }
  }

  bool adapter_is_zero() const override {
    bool zero = !model_.adapted.empty();
    for (const auto& parameter : model_.store->parameters()) {
      if (parameter.name.ends_with(".lora_B.weight"))
        zero = zero && parameter.stored->data.count_nonzero().item<std::int64_t>() == 0;
    }
    return zero;
  }
  void save_state(const std::filesystem::path& folder) override;
  void load_state(const std::filesystem::path& folder) override;
  double verify_saved(const std::filesystem::path& folder, const data::MicroBatch& probe) override;

 private:
  at::Tensor trained(const std::string& name) const {
    for (const auto& parameter : model_.store->parameters()) {
      if (parameter.name == name) return parameter.stored->data;
    }
    raise<Error>("internal error: no parameter '{}'", name);
  }
  void replace_trained(const std::map<std::string, at::Tensor>& tensors) {
    at::NoGradGuard no_graph;
    for (const auto& [name, tensor] : tensors) trained(name).copy_(tensor);
  }

  std::int64_t shard_bytes_;
  Model model_;
  Executor executor_;
  optim::Optimizer optimizer_;
};

double TorchEngine::matrix_flops(const data::MicroBatch& batch) const {
  const auto& arch = model_.architecture;
  const auto tokens = static_cast<double>(batch.tokens());
  double attended = 0;  // query-key pairs
  for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
    const double length = batch.offsets[s + 1] - batch.offsets[s];
    attended += length * (length + 1) / 2;
  }
  double flops = 0;
  const auto specs = model::describe_blocks(arch);
  bool below_trains = model_.store->trains(0);
  for (std::size_t b = 1; b < specs.size(); ++b) {
    const bool trains = model_.store->trains(b);
    // Forward, the gradient of the input where anything at or below is trained, and of the weight where it is trained
    // itself.
    const double input_passes = 1 + (below_trains || trains ? 1 : 0);
    const bool head = specs[b].kind == model::BlockSpec::Kind::head;
    for (const auto& spec : specs[b].parameters) {
      if (spec.role != model::Role::linear && spec.role != model::Role::head) continue;
      const double products = input_passes + (trains && !model_.adapter ? 1 : 0);
      flops += 2.0 * static_cast<double>(spec.count()) * (head ? static_cast<double>(batch.supervised()) : tokens) *
               products;
    }
    if (!head) {
      flops += 4.0 * attended * static_cast<double>(arch.query_size()) * (2 * input_passes - 1);
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
  std::vector<model::LayerCache> cache(static_cast<std::size_t>(model_.architecture.layers));
  std::vector<std::int32_t> generated, next = prompt;
  std::int64_t position = 0;
  while (static_cast<std::int64_t>(generated.size()) < options.max_new_tokens) {
    const auto logits = executor_.next_logits(next, position, cache).cpu().contiguous();
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

void TorchEngine::save_state(const std::filesystem::path& folder) {
  save_model(folder);
  const auto state = optimizer_.state();
  nlohmann::json steps;
  for (const auto& [name, count] : state.steps) steps[name] = count;
  save_tensors(folder / kOptimizerFile, state.tensors, {{"format", "pt"}, {"steps", steps.dump()}});
}

void TorchEngine::load_state(const std::filesystem::path& folder) {
  const auto tensors = read_trained(model_, folder);
  const auto file = folder / kOptimizerFile;
  const io::SafetensorsFile saved(file);
  const auto steps = saved.metadata().find("steps");
  if (steps == saved.metadata().end())
    raise<ModelError>("{}: has no count of updates: this is no optimizer state", file.string());
  optim::OptimizerState state;
  const auto parsed = io::parse_json(steps->second, file.string() + ": steps");
  for (const auto& parameter : model_.store->trainable()) {
    if (parsed.contains(parameter.name))
      state.steps.emplace_back(parameter.name, parsed.at(parameter.name).get<std::int64_t>());
    for (const auto& slot : optim::slot_names(optimizer_.options())) {
      if (const auto* view = saved.find(parameter.name + "." + slot))
        state.tensors.emplace_back(view->name, to_tensor(*view));
    }
  }
  optimizer_.load_state(state, model_.store->trainable());
  replace_trained(tensors);
}

double TorchEngine::verify_saved(const std::filesystem::path& folder, const data::MicroBatch& probe) {
  const auto live = executor_.logits(probe);
  std::map<std::string, at::Tensor> before;
  const auto read = read_trained(model_, folder);
  for (const auto& [name, tensor] : read) before[name] = trained(name).clone();
  replace_trained(read);
  const auto reread = executor_.logits(probe);
  replace_trained(before);
  return (live - reread).abs().max().item<double>();
}

}  // namespace

std::unique_ptr<Engine> make_engine(const config::Config& config, Purpose purpose) {
  at::set_num_threads(thread_count());
  // Our kernels run between LibTorch's on its own threads: two pools would wait for each other's cores.
  set_parallel_runner([](int threads, const std::function<void()>& work) {
    at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) { work(); });
  });
  kernels::set_kernel_mode(config.kernels == config::Kernels::reference ? kernels::KernelMode::reference
                                                                        : kernels::KernelMode::automatic);
  return std::make_unique<TorchEngine>(config, purpose);
}

double measure_matrix_speed(const config::Config& config) {
  const auto device = choose_device(config);
  const auto options = at::TensorOptions().device(device).dtype(compute_dtype(config, device));
  const std::int64_t size = device.is_cpu() ? 1024 : 8192;
  const auto a = at::ones({size, size}, options), b = at::ones({size, size}, options);
  auto c = at::mm(a, b);
  c.sum().item();
  const auto start = std::chrono::steady_clock::now();
  double seconds = 0;
  std::int64_t products = 0;
  while (seconds < 0.3) {
    at::mm_out(c, a, b);
    ++products;
    if (products % 4 == 0) {
      c[0][0].item();
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  }
  return 2.0 * std::pow(static_cast<double>(size), 3) * static_cast<double>(products) / seconds / 1e9;
}

}  // namespace lorica::engine
