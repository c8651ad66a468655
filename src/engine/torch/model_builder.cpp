#include "engine/torch/model_builder.hpp"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "adapters/lora.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/log.hpp"
#include "base/random.hpp"
#include "base/strings.hpp"
#include "engine/torch/adapter_plan.hpp"
#include "engine/torch/tensor_io.hpp"
#include "io/hub.hpp"
#include "io/json.hpp"
#include "io/model_config.hpp"

namespace lorica::engine {
namespace {

/// A stable 64-bit key of a name, for its random numbers.
std::uint64_t name_key(const std::string& name) {
  return std::stoull(ContentHash().add(name).hex().substr(0, 16), nullptr, 16);
}

/// Makes each parameter: read, quantized, drawn at random, or taken from the adapter's files.
class Loader {
 public:
  Loader(const config::Config& config, const model::Architecture& architecture, at::Device device,
         const std::optional<AdapterPlan>& plan, bool trains, const std::filesystem::path& folder)
      : config_(config), architecture_(architecture), device_(device), plan_(plan), trains_(trains) {
    if (config.load_format != config::LoadFormat::dummy) files_.emplace(folder);
    quantized_ = io::read_quantization_config(architecture.raw, (folder / "config.json").string());
    if (quantized_ && full()) {
      raise<ModelError>(
          "{}: the weights are stored in 4 bits, which full fine-tuning can't train. Use --train_type qlora, or "
          "the original model.",
          folder.string());
    }
  }

  void load(const model::ParameterSpec& spec) {
    Parameter parameter{spec.checkpoint_name, nullptr, false};
    const auto module = module_of(spec);
    const bool whole =
        plan_ && std::find(plan_->saved_whole.begin(), plan_->saved_whole.end(), module) != plan_->saved_whole.end();
    parameter.trained = trains_ && (full() || whole);
    quant::WeightFormat format;
    format.dtype = whole ? adapter_dtype() : storage_dtype(config_);
    if (spec.role == model::Role::linear && !whole && config_.train_type == config::TrainType::qlora &&
        config_.n_bits == 4) {
      format.kind = config_.quant_type == config::QuantType::nf4 ? quant::Kind::nf4 : quant::Kind::fp4;
      format.block_size = static_cast<int>(config_.quant_blocksize);
      format.double_quant = config_.double_quant;
    }
    auto stored = whole && plan_->files ? saved_weight(spec, format) : base_weight(spec, format);
    if (stored.shape != spec.shape) {
      raise<ModelError>("{}: '{}' has shape [{}], but config.json asks for [{}]",
                        files_ ? files_->file_of(spec.checkpoint_name).string() : "", spec.checkpoint_name,
                        fmt::join(stored.shape, ", "), fmt::join(spec.shape, ", "));
    }
    if (spec.role == model::Role::linear) formats_.insert(describe(stored.format));
    parameter.stored = std::make_shared<quant::StoredWeight>(stored.to(device_));
    parameters_.push_back(std::move(parameter));
  }

  /// The two matrices of a low-rank pair: A at random, B zero, or both from the adapter's files.
  void load_pair(const LoraTarget& target) {
    at::Tensor a, b;
    if (plan_->files) {
      const auto found = plan_->files->pairs().find(target.module);
      if (found == plan_->files->pairs().end()) {
        raise<ModelError>("{}: adapter_config.json names {}, but {} has no tensors for it",
                          plan_->files->folder().string(), target.module, io::kAdapterWeightsFile);
      }
      a = to_tensor(*found->second.a);
      b = to_tensor(*found->second.b);
    } else {
      a = adapters::initial_lora_a(target.rank, target.in,
                                   random_key({static_cast<std::uint64_t>(config_.seed), name_key(target.module)}));
      b = at::zeros({target.out, target.rank}, at::kFloat);
    }
    add_matrix(target.module + ".lora_A.weight", a, {target.rank, target.in});
    add_matrix(target.module + ".lora_B.weight", b, {target.out, target.rank});
  }

  std::vector<Parameter> take() { return std::move(parameters_); }
  std::string storage() const { return join({formats_.begin(), formats_.end()}, " + "); }

 private:
  bool full() const { return trains_ && config_.train_type == config::TrainType::full; }

  static std::string module_of(const model::ParameterSpec& spec) {
    return spec.checkpoint_name.substr(0, spec.checkpoint_name.rfind('.'));
  }

  at::ScalarType adapter_dtype() const {
    return config_.lora_weight_dtype == config::DataType::bfloat16  ? at::kBFloat16
           : config_.lora_weight_dtype == config::DataType::float16 ? at::kHalf
                                                                    : at::kFloat;
  }

  quant::StoredWeight base_weight(const model::ParameterSpec& spec, const quant::WeightFormat& format) {
    if (!files_) return quant::store(dummy(spec), format, spec.checkpoint_name);
    if (spec.role == model::Role::linear && quant::is_prequantized(*files_, spec.checkpoint_name)) {
      auto stored = quant::load_prequantized(*files_, spec.checkpoint_name);
      if (format.kind == quant::Kind::dense && trains_ && config_.train_type != config::TrainType::qlora && !noted_) {
        spdlog::info("the base model is stored in 4 bits and is used as it is");
        noted_ = true;
      }
      return stored;
    }
    const auto& view = files_->at(spec.checkpoint_name);
    if (view.shape != spec.shape) {
      raise<ModelError>("{}: '{}' has shape [{}], but config.json asks for [{}]",
                        files_->file_of(spec.checkpoint_name).string(), spec.checkpoint_name,
                        fmt::join(view.shape, ", "), fmt::join(spec.shape, ", "));
    }
    // What is wrong with a tensor's values is said with the name of its file.
    try {
      auto stored = quant::store_from(view, format);
      files_->release(view);
      return stored;
    } catch (const ModelError& error) {
      raise<ModelError>("{}: {}", files_->file_of(spec.checkpoint_name).string(), error.what());
    }
  }

  quant::StoredWeight saved_weight(const model::ParameterSpec& spec, const quant::WeightFormat& format) {
    const auto found = plan_->files->saved().find(spec.checkpoint_name);
    if (found == plan_->files->saved().end()) {
      raise<ModelError>("{}: adapter_config.json lists {} in modules_to_save, but {} lacks its tensor",
                        plan_->files->folder().string(), spec.checkpoint_name, io::kAdapterWeightsFile);
    }
    return quant::store_from(*found->second, format);
  }

  void add_matrix(const std::string& name, const at::Tensor& value, const std::vector<std::int64_t>& shape) {
    if (value.sizes().vec() != shape) {
      raise<ModelError>("{}: '{}' has shape [{}], but this base model and adapter_config.json need [{}]",
                        plan_->files->folder().string(), name, fmt::join(value.sizes(), ", "), fmt::join(shape, ", "));
    }
    quant::WeightFormat format;
    format.dtype = adapter_dtype();
    auto stored = quant::store(value, format, name);
    parameters_.push_back({name, std::make_shared<quant::StoredWeight>(stored.to(device_)), trains_});
  }

  /// Seeded random weights of the right shape (--load_format dummy): normal with the family's spread; norms 1, biases
  /// 0.
  at::Tensor dummy(const model::ParameterSpec& spec) const {
    if (spec.role == model::Role::norm) return at::ones(spec.shape, at::kFloat);
    if (spec.role == model::Role::bias) return at::zeros(spec.shape, at::kFloat);
    auto generator = at::detail::createCPUGenerator(
        random_key({static_cast<std::uint64_t>(config_.seed), name_key(spec.checkpoint_name)}));
    return at::normal(0.0, architecture_.initializer_range, spec.shape, generator, at::kFloat);
  }

  static std::string describe(const quant::WeightFormat& format) {
    if (format.kind == quant::Kind::dense) return std::string(c10::toString(format.dtype));
    return fmt::format("{} (blocks of {}{})", quant::kind_name(format.kind), format.block_size,
                       format.double_quant ? ", double quantization" : "");
  }

  const config::Config& config_;
  const model::Architecture& architecture_;
  at::Device device_;
  const std::optional<AdapterPlan>& plan_;
  bool trains_, noted_ = false;
  std::optional<io::WeightFiles> files_;
  std::optional<io::BitsAndBytesConfig> quantized_;
  std::vector<Parameter> parameters_;
  std::set<std::string> formats_;
};

/// Local names of a block's parameters and of the low-rank pairs on its projections.
BlockLayout layout_of(const model::BlockSpec& block, const std::optional<AdapterPlan>& plan) {
  BlockLayout layout;
  for (const auto& spec : block.parameters) {
    layout.parameters[spec.name] = spec.checkpoint_name;
    if (!plan || spec.role != model::Role::linear) continue;
    const auto path = spec.checkpoint_name.substr(0, spec.checkpoint_name.rfind('.'));
    const auto target = plan->targets.find(path);
    if (target == plan->targets.end()) continue;
    const auto local = spec.name.substr(0, spec.name.rfind('.'));
    for (const char* matrix : {".lora_A.weight", ".lora_B.weight"}) layout.parameters[local + matrix] = path + matrix;
    layout.adapters[local] =
        std::make_shared<adapters::LoraAdapter>(target->second.scaling, plan->config.dropout, name_key(path));
  }
  return layout;
}

}  // namespace

Model build_model(const config::Config& config, bool trains) {
  Model model;
  model.folder = io::find_model(config.model_name);
  model.device = choose_device(config);
  model.compute = compute_dtype(config, model.device);
  model.architecture = model::read_architecture(model.folder);
  model.blocks = model::make_blocks(model.architecture);
  const auto specs = model::describe_blocks(model.architecture);
  const auto plan = plan_adapter(config, model.architecture, specs, trains);
  if (plan) {
    model.adapter = plan->config;
    for (const auto& [module, target] : plan->targets) model.adapted.push_back(module);
  }
  Loader loader(config, model.architecture, model.device, plan, trains, model.folder);
  std::vector<BlockLayout> layouts;
  for (const auto& block : specs) {
    for (const auto& spec : block.parameters) {
      if (!spec.tied) loader.load(spec);
    }
    layouts.push_back(layout_of(block, plan));
    if (!plan) continue;
    for (const auto& [local, adapter] : layouts.back().adapters) {
      const auto& weight = layouts.back().parameters.at(local + ".weight");
      loader.load_pair(plan->targets.at(weight.substr(0, weight.rfind('.'))));
    }
  }
  model.storage = loader.storage();
  model.owned = {{0, model.blocks.size()}};
  model.store = std::make_unique<ResidentStore>(loader.take(), std::move(layouts));
  for (std::size_t b = 0; b < model.blocks.size(); ++b) model.trains.push_back(model.store->trains(b));
  return model;
}

}  // namespace lorica::engine
