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

bool saved_whole(const std::optional<AdapterPlan>& plan, const model::ParameterSpec& spec) {
  return plan && std::find(plan->saved_whole.begin(), plan->saved_whole.end(), io::module_of(spec.checkpoint_name)) !=
                     plan->saved_whole.end();
}

/// The tensor of an adapter's files that takes the place of the base model's.
const io::TensorView* brought(const std::optional<AdapterPlan>& plan, const model::ParameterSpec& spec) {
  if (!plan) return nullptr;
  const auto found = plan->brought.find(spec.checkpoint_name);
  return found == plan->brought.end() ? nullptr : found->second;
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
                                  const BaseModel& base, const model::ParameterSpec& spec) {
  const bool of_adapter = saved_whole(plan, spec) || brought(plan, spec);
  quant::WeightFormat format;
  format.dtype = of_adapter ? adapter_dtype(config) : storage_dtype(config);
  if (spec.role != model::Role::linear || of_adapter || base.keeps_dense(spec)) return format;
  if (const auto packed = base.packed(spec)) return *packed;
  if (config.train_type == config::TrainType::qlora && config.n_bits != 16) return quantized_format(config);
  return format;
}

void check_trainable(const config::Config& config, const BaseModel& base) {
  if (config.train_type != config::TrainType::full || !base.quantized()) return;
  raise<ModelError>(
      "{}: the weights are quantized, which full fine-tuning can't train. Use --train_type qlora, or "
      "the original model.",
      base.folder().string());
}

BlockLoader::BlockLoader(const config::Config& config, const BaseModel& base, at::Device device,
                         const std::optional<AdapterPlan>& plan, bool trains)
    : config_(config), base_(base), device_(device), plan_(plan), trains_(trains) {}

std::vector<Parameter> BlockLoader::load(const ParameterGroup& group) {
  std::vector<Parameter> parameters;
  for (const auto& spec : group.specs) parameters.push_back(load(spec));
  for (const auto& target : group.pairs) load_pair(target, parameters);
  return parameters;
}

Parameter BlockLoader::load(const model::ParameterSpec& spec) {
  const auto format = weight_format(config_, plan_, base_, spec);
  const auto* view = brought(plan_, spec);
  const auto stored = view ? quant::store_from(*view, format) : base_weight(spec, format);
  return {spec.checkpoint_name, std::make_shared<quant::StoredWeight>(stored.to(device_)),
          trained_whole(config_, plan_, trains_, spec)};
}

void BlockLoader::load_pair(const LoraTarget& target, std::vector<Parameter>& parameters) {
  at::Tensor a, b;
  if (plan_->files) {
    const auto& pair = plan_->files->pairs().at(target.module);
    a = to_tensor(*pair.a);
    b = to_tensor(*pair.b);
  } else {
    a = adapters::initial_lora_a(target.rank, target.in,
                                 random_key({static_cast<std::uint64_t>(config_.seed), name_key(target.module)}));
    b = at::zeros({target.out, target.rank}, at::kFloat);
  }
  parameters.push_back(matrix(target.module + ".lora_A.weight", a, {target.rank, target.in}));
  parameters.push_back(matrix(target.module + ".lora_B.weight", b, {target.out, target.rank}));
}

quant::StoredWeight BlockLoader::base_weight(const model::ParameterSpec& spec, const quant::WeightFormat& format) {
  const auto* files = base_.files();
  if (!files) return quant::store(dummy(spec), format, spec.checkpoint_name);
  const auto& name = base_.file_name(spec.checkpoint_name);
  const auto& view = files->at(name);
  if (const auto packed = base_.packed(spec)) {
    auto stored = quant::load_prequantized(*files, name);
    files->release(view);
    // An output head is kept dense, whatever its file did to it.
    if (!format.quantized()) return quant::store(quant::dequantize(stored, format.dtype), format, name);
    if (trains_ && config_.train_type != config::TrainType::qlora && !noted_) {
      spdlog::info("the base model is stored as {} and is used as it is", quant::describe(*packed));
      noted_ = true;
    }
    return stored;
  }
  // What is wrong with a tensor's values is said with the name of its file.
  try {
    auto stored = quant::store_from(view, format, [&](const io::TensorView& part) { files->release(part); });
    files->release(view);
    return stored;
  } catch (const ModelError& error) {
    raise<ModelError>("{}: {}", files->file_of(name).string(), error.what());
  }
}

Parameter BlockLoader::matrix(const std::string& name, const at::Tensor& value,
                              const std::vector<std::int64_t>& shape) const {
  ensure(value.sizes().vec() == shape, "'{}' has another shape than its plan", name);
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
  return at::normal(0.0, base_.architecture().initializer_range, spec.shape, generator, at::kFloat);
}

}  // namespace lorica::engine
