#include "engine/torch/block_loader.hpp"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

#include "adapters/lora.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/log.hpp"
#include "base/random.hpp"
#include "engine/torch/model_builder.hpp"
#include "engine/torch/tensor_io.hpp"

namespace lorica::engine {
namespace {

std::string module_of(const model::ParameterSpec& spec) {
  return spec.checkpoint_name.substr(0, spec.checkpoint_name.rfind('.'));
}

bool saved_whole(const std::optional<AdapterPlan>& plan, const model::ParameterSpec& spec) {
  return plan &&
         std::find(plan->saved_whole.begin(), plan->saved_whole.end(), module_of(spec)) != plan->saved_whole.end();
}

}  // namespace

std::uint64_t name_key(const std::string& name) {
  return std::stoull(ContentHash().add(name).hex().substr(0, 16), nullptr, 16);
}

bool trained_whole(const config::Config& config, const std::optional<AdapterPlan>& plan, bool trains,
                   const model::ParameterSpec& spec) {
  return trains && (config.train_type == config::TrainType::full || saved_whole(plan, spec));
}

quant::WeightFormat quantized_format(const config::Config& config) {
  quant::WeightFormat format;
  format.name = config::name_of(config.quant_type);
  format.dtype = storage_dtype(config);
  format.block_size = static_cast<int>(config.quant_blocksize);
  format.double_quant = config.double_quant;
  return format;
}

quant::WeightFormat weight_format(const config::Config& config, const std::optional<AdapterPlan>& plan,
                                  const model::ParameterSpec& spec) {
  const bool whole = saved_whole(plan, spec);
  quant::WeightFormat format;
  format.dtype = whole ? adapter_dtype(config) : storage_dtype(config);
  if (spec.role == model::Role::linear && !whole && config.train_type == config::TrainType::qlora &&
      config.n_bits != 16) {
    return quantized_format(config);
  }
  return format;
}

BlockLoader::BlockLoader(const config::Config& config, const model::Architecture& architecture, at::Device device,
                         const std::optional<AdapterPlan>& plan, bool trains, const std::filesystem::path& folder)
    : config_(config), architecture_(architecture), device_(device), plan_(plan), trains_(trains) {
  if (config.load_format != config::LoadFormat::dummy) files_.emplace(folder);
  if (full() && io::read_quantization_config(architecture.raw, (folder / "config.json").string())) {
    raise<ModelError>(
        "{}: the weights are stored in 4 bits, which full fine-tuning can't train. Use --train_type qlora, or "
        "the original model.",
        folder.string());
  }
}

std::vector<Parameter> BlockLoader::load(const ParameterGroup& group) {
  std::vector<Parameter> parameters;
  for (const auto& spec : group.specs) parameters.push_back(load(spec));
  for (const auto& target : group.pairs) load_pair(target, parameters);
  return parameters;
}

Parameter BlockLoader::load(const model::ParameterSpec& spec) {
  const auto format = weight_format(config_, plan_, spec);
  const bool whole = saved_whole(plan_, spec);
  const auto stored = whole && plan_->files ? saved_weight(spec, format) : base_weight(spec, format);
  if (stored.shape != spec.shape) raise_wrong_shape(spec, stored.shape);
  return {spec.checkpoint_name, std::make_shared<quant::StoredWeight>(stored.to(device_)),
          trained_whole(config_, plan_, trains_, spec)};
}

void BlockLoader::load_pair(const LoraTarget& target, std::vector<Parameter>& parameters) {
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
  parameters.push_back(matrix(target.module + ".lora_A.weight", a, {target.rank, target.in}));
  parameters.push_back(matrix(target.module + ".lora_B.weight", b, {target.out, target.rank}));
}

void BlockLoader::raise_wrong_shape(const model::ParameterSpec& spec, const std::vector<std::int64_t>& shape) const {
  raise<ModelError>("{}: '{}' has shape [{}], but config.json asks for [{}]",
                    files_ ? files_->file_of(spec.checkpoint_name).string() : "", spec.checkpoint_name,
                    fmt::join(shape, ", "), fmt::join(spec.shape, ", "));
}

quant::StoredWeight BlockLoader::base_weight(const model::ParameterSpec& spec, const quant::WeightFormat& format) {
  if (!files_) return quant::store(dummy(spec), format, spec.checkpoint_name);
  if (spec.role == model::Role::linear && quant::is_prequantized(*files_, spec.checkpoint_name)) {
    auto stored = quant::load_prequantized(*files_, spec.checkpoint_name);
    files_->release(files_->at(spec.checkpoint_name));
    if (!format.quantized() && trains_ && config_.train_type != config::TrainType::qlora && !noted_) {
      spdlog::info("the base model is stored in 4 bits and is used as it is");
      noted_ = true;
    }
    return stored;
  }
  const auto& view = files_->at(spec.checkpoint_name);
  if (view.shape != spec.shape) raise_wrong_shape(spec, view.shape);
  // What is wrong with a tensor's values is said with the name of its file.
  try {
    auto stored = quant::store_from(view, format, [&](const io::TensorView& part) { files_->release(part); });
    files_->release(view);
    return stored;
  } catch (const ModelError& error) {
    raise<ModelError>("{}: {}", files_->file_of(spec.checkpoint_name).string(), error.what());
  }
}

quant::StoredWeight BlockLoader::saved_weight(const model::ParameterSpec& spec,
                                              const quant::WeightFormat& format) const {
  const auto found = plan_->files->saved().find(spec.checkpoint_name);
  if (found == plan_->files->saved().end()) {
    raise<ModelError>("{}: adapter_config.json lists {} in modules_to_save, but {} lacks its tensor",
                      plan_->files->folder().string(), spec.checkpoint_name, io::kAdapterWeightsFile);
  }
  return quant::store_from(*found->second, format);
}

Parameter BlockLoader::matrix(const std::string& name, const at::Tensor& value,
                              const std::vector<std::int64_t>& shape) const {
  if (value.sizes().vec() != shape) {
    raise<ModelError>("{}: '{}' has shape [{}], but this base model and adapter_config.json need [{}]",
                      plan_->files->folder().string(), name, fmt::join(value.sizes(), ", "), fmt::join(shape, ", "));
  }
  quant::WeightFormat format;
  format.dtype = adapter_dtype(config_);
  return {name, std::make_shared<quant::StoredWeight>(quant::store(value, format, name).to(device_)), trains_};
}

/// Seeded random weights of the right shape (--load_format dummy): normal with the family's spread; norms and biases
/// change nothing.
at::Tensor BlockLoader::dummy(const model::ParameterSpec& spec) const {
  if (spec.role == model::Role::norm || spec.role == model::Role::bias) {
    return at::full(spec.shape, spec.neutral, at::kFloat);
  }
  auto generator = at::detail::createCPUGenerator(
      random_key({static_cast<std::uint64_t>(config_.seed), name_key(spec.checkpoint_name)}));
  return at::normal(0.0, architecture_.initializer_range, spec.shape, generator, at::kFloat);
}

}  // namespace lorica::engine
