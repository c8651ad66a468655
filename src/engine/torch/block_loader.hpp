// Makes a model's parameters, one group at a time: read, quantized, drawn at random, or taken from an adapter's files.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/torch/adapter_plan.hpp"
#include "engine/torch/base_model.hpp"
#include "engine/torch/parameter_store.hpp"

namespace lorica::engine {

/// Parameters that are loaded together and, sharded, travel together.
struct ParameterGroup {
  std::vector<model::ParameterSpec> specs;  ///< of the base model
  std::vector<LoraTarget> pairs;            ///< low-rank pairs on its linear layers
};

class BlockLoader {
 public:
  /// All but `device` must outlive it.
  BlockLoader(const config::Config& config, const BaseModel& base, at::Device device,
              const std::optional<AdapterPlan>& plan, bool trains);

  /// The parameters of `group`, in its order, pairs last (A, then B).
  std::vector<Parameter> load(const ParameterGroup& group);

 private:
  Parameter load(const model::ParameterSpec& spec);
  void load_pair(const LoraTarget& target, std::vector<Parameter>& parameters);
  Parameter matrix(const std::string& name, const at::Tensor& value, const std::vector<std::int64_t>& shape) const;
  quant::StoredWeight base_weight(const model::ParameterSpec& spec, const quant::WeightFormat& format);
  at::Tensor dummy(const model::ParameterSpec& spec) const;

  const config::Config& config_;
  const BaseModel& base_;
  at::Device device_;
  const std::optional<AdapterPlan>& plan_;
  bool trains_, noted_ = false;
};

/// Whether the parameter of this spec is trained as a whole: all are in full fine-tuning, modules_to_save with an
/// adapter.
bool trained_whole(const config::Config& config, const std::optional<AdapterPlan>& plan, bool trains,
                   const model::ParameterSpec& spec);

/// What the linear layers of a base model are quantized to.
quant::WeightFormat quantized_format(const config::Config& config);

/// How the weight of this spec is kept: as the checkpoint stores it if that quantized it, or left it dense among
/// quantized ones; else as `config` says. What an adapter's files bring is kept as adapters are.
quant::WeightFormat weight_format(const config::Config& config, const std::optional<AdapterPlan>& plan,
                                  const BaseModel& base, const model::ParameterSpec& spec);

/// Throws ModelError for quantized weights that are to be trained whole.
void check_trainable(const config::Config& config, const BaseModel& base);

/// A stable 64-bit key of a name, for its random numbers.
std::uint64_t name_key(const std::string& name);

}  // namespace lorica::engine
