// Which modules of a model are trained, and how: decided from the options or from a PEFT folder before any weight is
// read.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "io/peft_adapter.hpp"
#include "model/architecture.hpp"

namespace lorica::engine {

/// One linear layer that gets a low-rank pair.
struct LoraTarget {
  std::string module;  ///< path in a checkpoint: "model.layers.3.self_attn.q_proj"
  std::int64_t rank = 0;
  double scaling = 1;
  std::int64_t in = 0, out = 0;
};

struct AdapterPlan {
  io::AdapterConfig config;
  std::map<std::string, LoraTarget> targets;  ///< by module path
  std::vector<std::string> saved_whole;       ///< module paths of modules_to_save
  /// Whole tensors of the adapter's files, by checkpoint name: they take the place of the base model's. Those of
  /// modules_to_save are trained on; others (embeddings that PEFT saved beside the pairs) stay as they are.
  std::map<std::string, const io::TensorView*> brought;
  std::shared_ptr<io::AdapterFiles> files;  ///< where the start values come from, if an adapter was given
};

/// The adapter that `config` asks for on this architecture: a new one from lora_*, or the one in `config.adapter`.
/// Empty for a bare base model (inference without --adapter, or full fine-tuning). Throws ConfigError naming a target
/// that matches nothing, with the nearest names; ModelError for a tensor of the adapter's files that has no place in
/// the model, another shape than its place, or is missing.
std::optional<AdapterPlan> plan_adapter(const config::Config& config, const model::Architecture& architecture,
                                        const std::vector<model::BlockSpec>& blocks, bool trains);

}  // namespace lorica::engine
