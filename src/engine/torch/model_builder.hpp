// From a configuration to a model that is ready to run. The order is fixed: architecture -> weight formats -> adapters
// -> load. (Pipeline split, sharding and offload will stand between adapters and load.)
#pragma once

#include <optional>
#include <set>

#include "config/config.hpp"
#include "engine/engine.hpp"
#include "engine/torch/base_model.hpp"
#include "engine/torch/parameter_store.hpp"
#include "io/peft_adapter.hpp"
#include "model/block.hpp"
#include "parallel/mesh.hpp"
#include "parallel/partition.hpp"
#include "parallel/process_group.hpp"

namespace lorica::engine {

/// Blocks [begin, end).
struct BlockRange {
  std::size_t begin = 0, end = 0;
};

/// The processes that share work with this one; null where there is only one.
struct ProcessGroups {
  std::unique_ptr<parallel::ProcessGroup> gather, reduce;  ///< the shards of this copy, twice: they overlap
  std::unique_ptr<parallel::ProcessGroup> replicas;        ///< the same shard of the other copies
  std::unique_ptr<parallel::ProcessGroup> stage;           ///< all of them, in host memory
  std::unique_ptr<parallel::ProcessGroup> tied;            ///< first and last stage, where both hold the embedding
};

struct Model {
  std::filesystem::path folder;  ///< of the base model
  model::Architecture architecture;
  std::vector<std::unique_ptr<model::Block>> blocks;
  std::optional<io::AdapterConfig>
      adapter;                       ///< as it will be saved; empty for full fine-tuning and for a bare base model
  std::vector<std::string> adapted;  ///< module paths that carry an adapter
  std::set<std::string> brought;     ///< base weights that came from the adapter's files, and are saved with it
  std::set<std::string> trained;     ///< all parameters that are trained, on whichever process
  Account account;                   ///< files, tensors and keys of base model and adapter that nothing uses
  at::Device device = at::kCPU;
  at::ScalarType compute = at::kFloat;  ///< of activations and products
  std::string storage;                  ///< what the linear layers are stored as, for people
  std::vector<bool> trains;             ///< by block, on whichever process it is: is anything in it trained?
  std::int64_t trained_elements = 0;    ///< on all processes together, each counted once
  parallel::Mesh mesh;                  ///< this process's place
  std::string tied_name;                ///< the parameter that first and last stage share; "": none
  /// The blocks that this process runs, ascending: one run of them, or with interleaved stages several. The store holds
  /// these only.
  std::vector<BlockRange> owned;
  /// The stages of this process's pipeline, by stage; null with one stage.
  std::unique_ptr<parallel::ProcessGroup> pipeline;
  ProcessGroups groups;
  std::unique_ptr<ParameterStore> store;  ///< last: it uses the groups
};

/// A parameter that another process counts, saves and reports: the last stage's copy of a tied embedding.
bool is_repeated(const Model& model, const std::string& parameter);

/// A block as the partition into stages sees it; `trained`: elements that the optimizer updates.
parallel::BlockFacts block_facts(model::BlockSpec::Kind kind, std::int64_t trained);

/// Does this process run the block?
bool owns(const Model& model, std::size_t block);

/// Nothing is trainable unless the purpose is to train. `world`: the processes that share the model, or null; then it
/// is collective (not for probes). Throws ConfigError, ModelError, FileError, DeviceError.
Model build_model(const config::Config& config, Purpose purpose, parallel::World* world = nullptr);

/// Logs what products are computed in where that isn't what `precision` says, and why; and warns of a compute_dtype
/// that this device is slow at.
void report_precision(const config::Config& config, at::Device device);

/// The base model that `config` names, as all commands read it.
BaseModel read_base_model(const config::Config& config, BaseModel::Weights weights = BaseModel::Weights::needed);

/// The device that `config.backend` and `config.device` mean for this process; `place`: who it is, if known better than
/// by its environment. Throws DeviceError if it isn't there.
at::Device choose_device(const config::Config& config, const parallel::Place* place = nullptr);
/// Throws ConfigError for options that a run on this device can't follow, DeviceError if it lacks what they ask for.
void check_device_options(const config::Config& config, at::Device device);
/// Checks that, makes the device ready, caps its memory. Throws DeviceError, ConfigError.
void start_device(const config::Config& config, at::Device device);
/// The dtype that parameters are rounded to.
at::ScalarType storage_dtype(const config::Config& config);
/// Whether `selective` keeps its widest tensors in bfloat16: where the model is rounded to that anyway, and only the
/// products are computed in float32 because this device is better at it.
bool keeps_narrow(const config::Config& config, at::Device device);
/// What adapters and modules_to_save are kept in.
at::ScalarType adapter_dtype(const config::Config& config);
/// What gradients travel in between processes; none: the dtype of their parameter.
std::optional<at::ScalarType> reduce_dtype(const config::Config& config);
/// The dtype that products are computed in.
at::ScalarType compute_dtype(const config::Config& config, at::Device device);

}  // namespace lorica::engine
