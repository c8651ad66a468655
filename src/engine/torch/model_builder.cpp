#include "engine/torch/model_builder.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "adapters/lora.hpp"
#include "base/error.hpp"
#include "base/strings.hpp"
#include "engine/cuda/facts.hpp"
#include "engine/torch/adapter_plan.hpp"
#include "engine/torch/block_loader.hpp"
#include "engine/torch/probe_stores.hpp"
#include "engine/torch/shard_loading.hpp"
#include "io/folder_kind.hpp"
#include "parallel/cuda/nccl_transport.hpp"
#include "quant/dtype_name.hpp"

namespace lorica::engine {
namespace {

/// What is appended to a module's path for the two matrices of its pair.
constexpr const char* kMatrices[] = {".lora_A.weight", ".lora_B.weight"};

/// Local names of a block's parameters and of the low-rank pairs on its projections.
BlockLayout layout_of(const model::BlockSpec& block, const std::optional<AdapterPlan>& plan) {
  BlockLayout layout;
  for (const auto& spec : block.parameters) {
    layout.parameters[spec.name] = spec.checkpoint_name;
    if (!plan || spec.role != model::Role::linear) continue;
    const auto path = io::module_of(spec.checkpoint_name);
    const auto target = plan->targets.find(path);
    if (target == plan->targets.end()) continue;
    const auto local = io::module_of(spec.name);
    for (const char* matrix : kMatrices) layout.parameters[local + matrix] = path + matrix;
    layout.adapters[local] =
        std::make_shared<adapters::LoraAdapter>(target->second.scaling, plan->config.dropout, name_key(path));
  }
  return layout;
}

/// What of the model this process holds, and what is trained anywhere.
class Builder {
 public:
  Builder(const config::Config& config, std::shared_ptr<const BaseModel> base, Purpose purpose, parallel::World* world,
          Model& model)
      : config_(config),
        base_(std::move(base)),
        trains_(purpose == Purpose::train),
        purpose_(purpose),
        world_(world),
        model_(model),
        specs_(base_->blocks()) {
    if (trains_) check_trainable(config, *base_);
    plan_ = plan_adapter(config, model.architecture, specs_, trains_);
    model_.account.add(base_->account());
    if (plan_) model_.account.add(plan_->config.account);
  }

  void build() {
    if (plan_) {
      model_.adapter = plan_->config;
      for (const auto& [module, target] : plan_->targets) model_.adapted.push_back(module);
      for (const auto& [name, view] : plan_->brought) model_.brought.insert(name);
    }
    place(count_trained());
    gather_groups();
    make_process_groups();
    if (purpose_ == Purpose::probe) return make_streamed_store();
    // Shards are cut in host memory, and moved to the device when they are.
    const auto loads_to = model_.mesh.data_parallel() > 1 ? at::Device(at::kCPU) : model_.device;
    BlockLoader loader(config_, *base_, loads_to, plan_, trains_);
    make_store(loader);
    model_.storage = describe_storage();
  }

 private:
  std::vector<parallel::BlockFacts> count_trained();
  void place(const std::vector<parallel::BlockFacts>& facts);
  void gather_groups();
  bool over_nccl() const;
  void make_process_groups();
  void make_store(BlockLoader& loader);
  void make_streamed_store();
  std::string describe_storage() const;
  bool owns(std::size_t block) const { return engine::owns(model_, block); }
  std::vector<LoraTarget> pairs_of(const model::BlockSpec& block) const;

  const config::Config& config_;
  std::shared_ptr<const BaseModel> base_;
  bool trains_;
  Purpose purpose_;
  parallel::World* world_;
  Model& model_;
  std::vector<model::BlockSpec> specs_;
  std::optional<AdapterPlan> plan_;
  std::vector<ParameterGroup> groups_;
  std::vector<BlockLayout> layouts_;
};

void Builder::place(const std::vector<parallel::BlockFacts>& facts) {
  model_.owned = {{0, specs_.size()}};
  if (world_ == nullptr) return;
  model_.mesh = parallel::make_mesh(config_, world_->place());
  if (model_.mesh.stages == 1) return;
  const auto parts = parallel::partition(facts, config_.partition_method, model_.mesh.stages,
                                         static_cast<int>(config_.pipeline_interleave));
  model_.owned.clear();
  for (const auto& run : parts[static_cast<std::size_t>(model_.mesh.stage)]) {
    model_.owned.push_back({run.begin, run.end});
  }
}

std::vector<LoraTarget> Builder::pairs_of(const model::BlockSpec& block) const {
  std::vector<LoraTarget> pairs;
  if (!plan_) return pairs;
  const auto layout = layout_of(block, plan_);
  for (const auto& [local, adapter] : layout.adapters) {
    const auto& weight = layout.parameters.at(local + ".weight");
    pairs.push_back(plan_->targets.at(io::module_of(weight)));
  }
  return pairs;
}

std::vector<parallel::BlockFacts> Builder::count_trained() {
  std::vector<parallel::BlockFacts> facts;
  for (const auto& block : specs_) {
    auto fact = block_facts(block.kind, 0);
    bool any = false;
    for (const auto& spec : block.parameters) {
      const bool trained = trained_whole(config_, plan_, trains_, spec);
      any = any || trained;
      if (trained) model_.trained.insert(spec.checkpoint_name);
      if (trained && !spec.tied) fact.trained += spec.count();
    }
    for (const auto& pair : pairs_of(block)) {
      any = any || trains_;
      if (!trains_) continue;
      fact.trained += pair.rank * (pair.in + pair.out);
      for (const char* matrix : kMatrices) model_.trained.insert(pair.module + matrix);
    }
    model_.trained_elements += fact.trained;
    model_.trains.push_back(any);
    facts.push_back(fact);
  }
  return facts;
}

/// Each block's parameters are one group. The embedding and the output matrix travel alone: two blocks may share them,
/// and a tensor that travels alone needs no second buffer.
void Builder::gather_groups() {
  const bool shared = model_.architecture.tied_embeddings && owns(0) && owns(specs_.size() - 1);
  for (std::size_t b = 0; b < specs_.size(); ++b) {
    layouts_.emplace_back();
    if (!owns(b)) continue;
    layouts_.back() = layout_of(specs_[b], plan_);
    ParameterGroup group;
    for (const auto& spec : specs_[b].parameters) {
      if (shared && spec.tied) continue;
      if (spec.role == model::Role::embedding || spec.role == model::Role::head) {
        groups_.push_back({{spec}, {}});
      } else {
        group.specs.push_back(spec);
      }
    }
    group.pairs = pairs_of(specs_[b]);
    if (!group.specs.empty()) groups_.push_back(std::move(group));
  }
}

/// Whether tensors travel between devices directly: where each process has one of its own. Collective.
bool Builder::over_nccl() const {
  if (!model_.device.is_cuda()) return false;
  const auto devices = world_->all_gather_text(cuda::identity(model_.device.index()));
  for (std::size_t rank = 0; rank < devices.size(); ++rank) {
    const auto first = std::find(devices.begin(), devices.end(), devices[rank]) - devices.begin();
    if (first == static_cast<std::ptrdiff_t>(rank)) continue;
    if (config_.device >= 0) return false;
    raise<ConfigError>(
        "ranks {} and {} are on the same CUDA device: start one process for each device, or give "
        "--device N if they shall share one",
        first, rank);
  }
  return parallel::has_nccl();
}

void Builder::make_process_groups() {
  if (world_ == nullptr || world_->size() == 1) return;
  const bool nccl = over_nccl();
  const auto& mesh = model_.mesh;
  auto& groups = model_.groups;
  const auto make_on = [&](at::Device device, const char* purpose, const std::vector<int>& ranks) {
    return std::make_unique<parallel::ProcessGroup>(*world_, fmt::format("{}.{}", purpose, fmt::join(ranks, "-")),
                                                    ranks, device, nccl && !device.is_cpu());
  };
  const auto make = [&](const char* purpose, const std::vector<int>& ranks) {
    return make_on(model_.device, purpose, ranks);
  };
  if (mesh.data_parallel() > 1) {
    groups.gather = make("gather", mesh.shard_group());
    groups.reduce = make("reduce", mesh.shard_group());
    groups.replicas = make("replicas", mesh.replica_group());
    groups.stage = make_on(at::kCPU, "stage", mesh.stage_group());  // what is loaded is dealt out in host memory
  }
  if (mesh.stages == 1) return;
  model_.pipeline = make("pipeline", mesh.pipeline_group());
  if (!model_.architecture.tied_embeddings) return;
  for (const auto& spec : specs_.back().parameters) {
    if (spec.tied) model_.tied_name = spec.checkpoint_name;
  }
  if (model_.trains.front() && (owns(0) || owns(specs_.size() - 1))) {
    const int first = mesh.world_rank(0, mesh.data_rank()), last = mesh.world_rank(mesh.stages - 1, mesh.data_rank());
    groups.tied = make("tied", {std::min(first, last), std::max(first, last)});
  }
}

void Builder::make_store(BlockLoader& loader) {
  if (model_.mesh.data_parallel() == 1) {
    std::vector<Parameter> parameters;
    for (const auto& group : groups_) {
      for (auto& parameter : loader.load(group)) parameters.push_back(std::move(parameter));
    }
    model_.store = std::make_unique<ResidentStore>(std::move(parameters), std::move(layouts_));
    return;
  }
  ShardingOptions options;
  options.reshard_after_forward = model_.mesh.reshard_after_forward;
  options.reduce_once = config_.no_sync;
  options.prefetch_blocks = config_.prefetch_blocks;
  options.reduce_dtype = reduce_dtype(config_);
  auto& on = model_.groups;
  model_.store = std::make_unique<ShardedStore>(
      load_shards(loader, groups_, model_.mesh, *on.stage, config_.low_memory, model_.device), std::move(layouts_),
      *on.gather, *on.reduce, *on.replicas, options);
}

void Builder::make_streamed_store() {
  ensure(world_ == nullptr, "a probe is for one process");
  std::vector<ParameterGroup> groups;
  for (const auto& block : specs_) groups.push_back({block.parameters, pairs_of(block)});
  model_.store = std::make_unique<StreamedStore>(StreamedSource{config_, base_, plan_, model_.device},
                                                 std::move(groups), std::move(layouts_));
}

/// What the linear layers are stored as, for people.
std::string Builder::describe_storage() const {
  std::set<std::string> linear, formats;
  for (const auto& block : specs_) {
    for (const auto& spec : block.parameters) {
      if (spec.role == model::Role::linear) linear.insert(spec.checkpoint_name);
    }
  }
  for (const auto& parameter : model_.store->parameters()) {
    const auto& format = parameter.stored->format;
    if (!linear.contains(parameter.name)) continue;
    formats.insert(quant::describe(format));
  }
  return join({formats.begin(), formats.end()}, " + ");
}

}  // namespace

bool is_repeated(const Model& model, const std::string& parameter) {
  return model.mesh.stages > 1 && model.mesh.stage == model.mesh.stages - 1 && parameter == model.tied_name;
}

parallel::BlockFacts block_facts(model::BlockSpec::Kind kind, std::int64_t trained) {
  using Kind = parallel::BlockFacts::Kind;
  return {kind == model::BlockSpec::Kind::embedding ? Kind::embedding
          : kind == model::BlockSpec::Kind::head    ? Kind::head
                                                    : Kind::decoder_layer,
          trained};
}

bool owns(const Model& model, std::size_t block) {
  return std::any_of(model.owned.begin(), model.owned.end(),
                     [&](const BlockRange& range) { return block >= range.begin && block < range.end; });
}

BaseModel read_base_model(const config::Config& config, BaseModel::Weights weights) {
  const bool dummy = config.load_format == config::LoadFormat::dummy;
  return BaseModel(io::find_base_model(config.model_name), dummy ? BaseModel::Weights::ignored : weights);
}

Model build_model(const config::Config& config, Purpose purpose, parallel::World* world) {
  Model model;
  const auto base = std::make_shared<const BaseModel>(read_base_model(config));
  model.folder = base->folder();
  model.device = choose_device(config, world != nullptr ? &world->place() : nullptr);
  start_device(config, model.device);
  model.compute = compute_dtype(config, model.device);
  model.architecture = base->architecture();
  model.blocks = model::make_blocks(model.architecture);
  Builder(config, base, purpose, world, model).build();
  return model;
}

}  // namespace lorica::engine
