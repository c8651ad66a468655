#include "engine/plan/model_shape.hpp"

#include <algorithm>

#include "engine/torch/adapter_plan.hpp"
#include "engine/torch/block_loader.hpp"
#include "engine/torch/model_builder.hpp"
#include "kernels/attention.hpp"
#include "kernels/mode.hpp"
#include "model/layer_costs.hpp"
#include "quant/format.hpp"

namespace lorica::engine {
namespace {

std::uint64_t size_of(at::ScalarType type) {
  return static_cast<std::uint64_t>(c10::elementSize(type));
}

at::Device device_of(DeviceKind kind) {
  return kind == DeviceKind::cuda  ? at::Device(at::kCUDA, 0)
         : kind == DeviceKind::mps ? at::Device(at::kMPS, 0)
                                   : at::kCPU;
}

/// A CPU whose instructions our kernels are written for.
bool has_kernels(DeviceKind device) {
  return device == DeviceKind::cpu && kernels::has_kernels();
}

bool kernels_take_heads(const model::Architecture& architecture) {
  return std::ranges::all_of(architecture.layers, [](const model::LayerSpec& layer) {
    return kernels::attention_takes_head_size(layer.attention.head_dim);
  });
}

Widths widths_of(const config::Config& config, DeviceKind device) {
  Widths widths;
  widths.stored = size_of(storage_dtype(config));
  widths.compute = size_of(compute_dtype(config, device_of(device)));
  widths.adapter = size_of(adapter_dtype(config));
  widths.wide = keeps_narrow(config, device_of(device)) ? 2 : widths.compute;
  // kernels/gemm.hpp multiplies in float32.
  widths.products_in_place = has_kernels(device) && widths.compute == 4;
  return widths;
}

/// Bytes of a weight as it will be stored, statistics included.
std::uint64_t stored_bytes(const model::ParameterSpec& spec, const quant::WeightFormat& format) {
  std::int64_t bytes = 0;
  for (const auto& part : quant::find_format(format.name).parts(format, spec.shape)) bytes += part.bytes();
  return static_cast<std::uint64_t>(bytes);
}

void add(BlockShape& block, const TensorShape& tensor) {
  block.tensors.push_back(tensor);
  (tensor.trained ? block.trained : block.frozen) += tensor.bytes;
  if (!tensor.trained) return;
  block.trained_elements += tensor.elements;
  block.largest_trained = std::max(block.largest_trained, tensor.bytes);
}

}  // namespace

std::size_t ModelShape::first_trained() const {
  const auto found = std::find_if(blocks.begin(), blocks.end(), [](const BlockShape& block) { return block.trains(); });
  return static_cast<std::size_t>(found - blocks.begin());
}

std::uint64_t travelling_bytes(const config::Config& config, const BlockShape& block, bool copies) {
  if (const auto dtype = reduce_dtype(config)) return block.trained_elements * size_of(*dtype);
  return copies ? 4 * block.trained_elements : block.trained;
}

DeviceKind device_kind(const config::Config& config) {
  if (config.backend == config::Backend::cuda) return DeviceKind::cuda;
  if (config.backend == config::Backend::mps) return DeviceKind::mps;
  if (config.backend == config::Backend::cpu) return DeviceKind::cpu;
  const auto device = choose_device(config);
  return device.is_cuda() ? DeviceKind::cuda : device.is_mps() ? DeviceKind::mps : DeviceKind::cpu;
}

ModelShape describe_model(const config::Config& config, DeviceKind device) {
  ModelShape shape;
  const auto base = read_base_model(config, BaseModel::Weights::optional);
  shape.architecture = base.architecture();
  shape.widths = widths_of(config, device);
  shape.full = config.train_type == config::TrainType::full;
  shape.ragged_attention = has_kernels(device) && kernels_take_heads(shape.architecture);
  const bool adam = config.optimizer == config::OptimizerKind::adamw || config.optimizer == config::OptimizerKind::adam;
  const auto trained_width = shape.full ? shape.widths.stored : shape.widths.adapter;
  shape.fused_update = has_kernels(device) && adam && trained_width == 4;
  check_trainable(config, base);
  const auto& specs = base.blocks();
  const auto plan = plan_adapter(config, shape.architecture, specs, true);
  shape.account = base.account();
  if (plan) shape.account.add(plan->config.account);
  for (const auto& spec : specs) {
    BlockShape block;
    block.kind = spec.kind;
    block.layer = spec.layer;
    block.product_flops = model::product_flops(spec);
    for (const auto& parameter : spec.parameters) {
      if (parameter.tied) continue;
      const bool whole = trained_whole(config, plan, true, parameter);
      const auto elements = static_cast<std::uint64_t>(parameter.count());
      const bool linear = parameter.role == model::Role::linear;
      const auto format = weight_format(config, plan, base, parameter);
      add(block, {elements, stored_bytes(parameter, format), whole});
      if (!linear) continue;
      const bool as_is = !format.quantized() && size_of(format.dtype) == shape.widths.compute;
      if (!as_is && (whole || !shape.widths.products_in_place))
        block.largest_dense = std::max(block.largest_dense, elements);
      const auto local = io::module_of(parameter.name);
      if (whole) block.kept_inputs[local] = 0;
      if (!plan) continue;
      const auto target = plan->targets.find(io::module_of(parameter.checkpoint_name));
      if (target == plan->targets.end()) continue;
      const auto rank = static_cast<std::uint64_t>(target->second.rank);
      block.kept_inputs[local] = rank;
      for (const auto side : {target->second.in, target->second.out}) {
        const auto count = rank * static_cast<std::uint64_t>(side);
        add(block, {count, count * shape.widths.adapter, true});
      }
    }
    shape.blocks.push_back(std::move(block));
  }
  return shape;
}

}  // namespace lorica::engine
