// Makes a model's parameters, one group at a time: read, quantized, drawn at random, or taken from an adapter's files.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/torch/adapter_plan.hpp"
#include "engine/torch/parameter_store.hpp"
#include "io/model_config.hpp"
#include "io/safetensors.hpp"

namespace lorica::engine {

/// Parameters that are loaded together and, sharded, travel together.
struct ParameterGroup {
  std::vector<model::ParameterSpec> specs;  ///< of the base model
  std::vector<LoraTarget> pairs;            ///< low-rank pairs on its linear layers
};

class BlockLoader {
 public:
  /// Throws ModelError for quantized weights that are to be trained whole.
  BlockLoader(const config::Config& config, const model::Architecture& architecture, at::Device device,
              const std::optional<AdapterPlan>& plan, bool trains, const std::filesystem::path& folder);

  /// The parameters of `group`, in its order, pairs last (A, then B).
  std::vector<Parameter> load(const ParameterGroup& group);

 private:
  Parameter load(const model::ParameterSpec& spec);
  void load_pair(const LoraTarget& target, std::vector<Parameter>& parameters);
  Parameter matrix(const std::string& name, const at::Tensor& value, const std::vector<std::int64_t>& shape) const;
  bool full() const { return trains_ && config_.train_type == config::TrainType::full; }
  quant::StoredWeight base_weight(const model::ParameterSpec& spec, const quant::WeightFormat& format);
  quant::StoredWeight saved_weight(const model::ParameterSpec& spec, const quant::WeightFormat& format) const;
  at::Tensor dummy(const model::ParameterSpec& spec) const;
  [[noreturn]] void raise_wrong_shape(const model::ParameterSpec& spec, const std::vector<std::int64_t>& shape) const;

  const config::Config& config_;
  const model::Architecture& architecture_;
  at::Device device_;
  const std::optional<AdapterPlan>& plan_;
  bool trains_, noted_ = false;
  std::optional<io::WeightFiles> files_;
};

/// Whether the parameter of this spec is trained as a whole: all are in full fine-tuning, modules_to_save with an
/// adapter.
bool trained_whole(const config::Config& config, const std::optional<AdapterPlan>& plan, bool trains,
                   const model::ParameterSpec& spec);

/// What the linear layers of a base model are quantized to.
quant::WeightFormat quantized_format(const config::Config& config);

/// How the weight of this spec is kept when it is read from a checkpoint that isn't quantized itself.
quant::WeightFormat weight_format(const config::Config& config, const std::optional<AdapterPlan>& plan,
                                  const model::ParameterSpec& spec);

/// A stable 64-bit key of a name, for its random numbers.
std::uint64_t name_key(const std::string& name);

}  // namespace lorica::engine
