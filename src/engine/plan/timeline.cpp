#include "engine/plan/timeline.hpp"

#include <algorithm>
#include <numeric>

#include "engine/torch/verification.hpp"

namespace lorica::engine {
namespace {

using Kind = model::BlockSpec::Kind;

// What the program takes without a model, measured: libraries and threads; with other processes, also the connections
// to them. On a GPU its context and the libraries' workspaces.
constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBaseCpu = 132 * kMiB, kBasePeers = 6 * kMiB, kBaseGpu = 800 * kMiB, kBaseGpuPeers = 300 * kMiB;

class Timeline {
 public:
  Timeline(const config::Config& config, const ModelShape& model, const ProcessShape& process, const BatchShape& batch,
           const BatchShape& evaluation)
      : config_(config),
        model_(model),
        process_(process),
        batch_(batch),
        evaluation_(evaluation),
        policy_(config::recompute_policy(config)) {
    for (std::size_t b = 0; b < model.blocks.size(); ++b) {
      if (!process.owned[b]) continue;
      whole_frozen_ += model.blocks[b].frozen;
      whole_trained_ += model.blocks[b].trained;
      largest_trained_ = std::max(largest_trained_, model.blocks[b].largest_trained);
    }
    // A tied head on another stage than the embedding has a copy of its own.
    if (model.architecture.tied_embeddings && owns_head() && !process.owned.front()) {
      const auto& embedding = model.blocks.front();
      whole_frozen_ += embedding.frozen;
      whole_trained_ += embedding.trained;
    }
    base_.weights = split(whole_frozen_);
    base_.trained = split(whole_trained_);
    base_.optimizer = base_.trained * slots();
    const bool gpu = process.device != DeviceKind::cpu;
    base_.base = gpu ? kBaseGpu : kBaseCpu;
    if (peers()) base_.base += gpu ? kBaseGpuPeers : kBasePeers;
  }

  MemoryEstimate peak() {
    loading();
    for (std::size_t b = 1; b < head(); ++b) {
      if (process_.owned[b]) layer(b);
    }
    if (owns_head()) loss();
    if (process_.owned.front()) embedding();
    update();
    evaluation();
    if (config_.save_model) {
      saving();
      verification();
    }
    return best_;
  }

 private:
  // ---- figures ----

  std::size_t head() const { return model_.blocks.size() - 1; }
  bool owns_head() const { return process_.owned.back(); }
  std::uint64_t shards() const { return static_cast<std::uint64_t>(process_.mesh.shards); }
  bool data_parallel() const { return process_.mesh.data_parallel() > 1; }
  bool peers() const { return data_parallel() || process_.mesh.stages > 1; }
  bool gathers() const { return shards() > 1; }
  bool backward(std::size_t block) const { return block >= model_.first_trained(); }
  std::uint64_t split(std::uint64_t bytes) const { return (bytes + shards() - 1) / shards(); }
  std::uint64_t slots() const {
    if (config_.optimizer == config::OptimizerKind::sgd) return config_.momentum > 0 ? 1 : 0;
    return 2;
  }
  std::uint64_t prefetched() const { return static_cast<std::uint64_t>(config_.prefetch_blocks); }
  bool offloads() const { return config_.use_cpu_offload && process_.device != DeviceKind::cpu; }
  bool several() const { return process_.micro_batches > 1 || process_.in_flight > 1; }
  /// Each weight is updated as soon as its gradient is complete (Engine::forward_backward).
  bool early() const { return model_.full && !peers() && !config_.apply_gradient_clipping; }
  /// A tied head's gradient is made after all layers have had theirs.
  bool delays_head() const { return early() && !several() && tied_here(); }
  bool tied_here() const { return model_.architecture.tied_embeddings && owns_head() && process_.owned.front(); }

  /// A flat copy of a block's gradients on its way, and the peers' slices that are added to ours.
  std::uint64_t flight(const BlockShape& block) const {
    if (!data_parallel() || !block.trains()) return 0;
    const auto flat = travelling_bytes(config_, block, process_.mesh.replicas > 1);
    const auto group = gathers() ? shards() : static_cast<std::uint64_t>(process_.mesh.replicas);
    return flat + flat * (group - 1) / group + (gathers() ? flat / shards() : 0);
  }

  /// Gathered parameters while `block` is at work: itself and one arriving, in a buffer each (two layers at least: a
  /// layer is put together from one in the other). Embedding and head arrive in place where the rows come out even.
  std::uint64_t gathered(std::size_t block) const {
    if (!gathers()) return 0;
    const auto own = bytes_at_work(block);
    const bool even = static_cast<std::uint64_t>(model_.architecture.vocabulary) % shards() == 0;
    const bool matrix = block == 0 || block == head();
    const auto arriving = matrix && !even ? own : 0;
    if (!process_.mesh.reshard_after_forward) {
      std::uint64_t all = 0;
      for (std::size_t b = 0; b < model_.blocks.size(); ++b) all += process_.owned[b] ? model_.blocks[b].bytes() : 0;
      return all + arriving;
    }
    const auto buffers = 1 + std::max<std::uint64_t>(prefetched(), 1);
    if (!matrix) return buffers * own;
    const auto next = model_.blocks[block == 0 ? 1 : head() - 1].bytes();
    return own + std::max(arriving, buffers * next);
  }
  std::uint64_t bytes_at_work(std::size_t block) const {
    const bool tied = block == head() && model_.architecture.tied_embeddings;
    return model_.blocks[block].bytes() + (tied ? model_.blocks.front().bytes() : 0);
  }

  LayerMemory memory_of(std::size_t block) const { return layer_memory(model_, model_.blocks[block], batch_, policy_); }

  /// Activations that wait for their backward, of blocks before `end` in this micro-batch and of all in the others.
  std::uint64_t waiting(std::size_t end) const {
    std::uint64_t all = 0, before = 0;
    for (std::size_t b = 1; b < head(); ++b) {
      if (!process_.owned[b] || !backward(b)) continue;
      const auto memory = memory_of(b);
      const bool moved = config_.use_activation_cpu_offload && process_.device != DeviceKind::cpu;
      const auto bytes = memory.kept + (moved ? 0 : memory.input);
      all += bytes;
      if (b < end) before += bytes;
    }
    return all * (process_.in_flight - 1) / process_.chunks + before;
  }

  /// Gradients that exist already when the backward of `block` begins.
  std::uint64_t gradients_before(std::size_t block) const {
    const bool later = several();
    if (early() && !later) return 0;
    const bool whole = !data_parallel() || (config_.no_sync && later);
    std::uint64_t sum = 0;
    for (std::size_t b = 0; b < model_.blocks.size(); ++b) {
      if (!process_.owned[b] || (!later && b <= block)) continue;
      sum += whole ? model_.blocks[b].trained : split(model_.blocks[b].trained);
    }
    // A tied weight's gradient is whole from the head's backward to the embedding's.
    if (tied_here() && !later && block < head()) sum += model_.blocks.front().trained;
    return sum;
  }

  // ---- instants ----

  MemoryEstimate instant(const char* name) const {
    auto estimate = base_;
    estimate.instant = name;
    estimate.activations = batch_memory(model_, batch_);
    return estimate;
  }

  void consider(MemoryEstimate estimate) {
    if (offloads()) {
      estimate.host = estimate.weights + estimate.trained + estimate.optimizer + split(estimate.gradients);
      estimate.weights = estimate.trained = estimate.optimizer = 0;
      // Gradients leave the device as they are summed; a block's stay while it is at work.
      estimate.gradients = std::min(estimate.gradients, largest_block_gradient());
      // Without shards of its own a device still holds the block at work and the next.
      if (!gathers()) estimate.gathered = (1 + std::max<std::uint64_t>(prefetched(), 1)) * largest_block();
    }
    if (estimate.total() > best_.total()) best_ = estimate;
  }
  std::uint64_t largest_block_gradient() const {
    std::uint64_t most = 0;
    for (std::size_t b = 0; b < model_.blocks.size(); ++b)
      most = std::max(most, process_.owned[b] ? model_.blocks[b].trained : 0);
    return most;
  }
  std::uint64_t largest_block() const {
    std::uint64_t most = 0;
    for (std::size_t b = 0; b < model_.blocks.size(); ++b)
      most = std::max(most, process_.owned[b] ? model_.blocks[b].bytes() : 0);
    return most;
  }

  /// The last tensor, the largest in most models: its source beside what is made of it.
  void loading() {
    auto estimate = instant("loading");
    estimate.activations = estimate.optimizer = 0;
    std::uint64_t source = 0, group = 0;
    for (std::size_t b = 0; b < model_.blocks.size(); ++b) {
      if (!process_.owned[b]) continue;
      std::uint64_t most = 0;
      for (const auto& tensor : model_.blocks[b].tensors) most = std::max(most, tensor.elements);
      source = most * (config_.load_format == config::LoadFormat::dummy ? 4 : model_.widths.stored);
      group = model_.blocks[b].bytes();
    }
    estimate.loading = source + (data_parallel() ? 2 * group : 0);
    consider(estimate);
  }

  void layer(std::size_t block) {
    const auto& shape = model_.blocks[block];
    const auto memory = memory_of(block);
    if (!backward(block)) {
      auto forward = instant("forward");
      forward.activations += waiting(block) + memory.input + memory.forward;
      forward.gathered = gathered(block);
      if (process_.micro_batches > 1) forward.gradients = gradients_before(0);
      return consider(forward);
    }
    auto estimate = instant("backward of a layer");
    estimate.gathered = gathered(block);
    if (block + 1 < model_.blocks.size() && process_.owned[block + 1])
      estimate.communication = flight(model_.blocks[block + 1]);
    const auto before = gradients_before(block), held = waiting(block + 1);
    // While the feed-forward network's products have their gradients, only its last weight has its own …
    auto early = estimate;
    early.gradients = before + shape.largest_trained;
    early.activations += held + memory.rebuilt + memory.backward;
    consider(early);
    // … and when all weights have theirs, most activations are gone.
    auto late = estimate;
    late.gradients = before + shape.trained;
    late.activations += held + memory.rebuilt / 2 + memory.input;
    consider(late);
  }

  void loss() {
    auto estimate = instant("loss");
    const auto hidden = static_cast<std::uint64_t>(model_.architecture.hidden_size);
    const auto later = process_.micro_batches > 1;
    estimate.activations += waiting(head()) + batch_.tokens * hidden * model_.widths.compute;
    estimate.gathered = gathered(head());
    estimate.loss = loss_bytes() + (delays_head() ? 0 : head_gradient_memory(model_));
    if (later) estimate.gradients = gradients_before(head());
    consider(estimate);
    if (!data_parallel() || !model_.blocks.back().trains()) return;
    estimate.instant = "reduction of the head's gradient";
    estimate.loss = 0;
    estimate.gradients += model_.blocks.back().trained;
    estimate.communication = flight(model_.blocks.back());
    consider(estimate);
  }

  void embedding() {
    if (!model_.blocks.front().trains()) return;
    auto estimate = instant("backward of the embedding");
    estimate.gathered = gathered(0);
    estimate.gradients = gradients_before(0) + model_.blocks.front().trained;
    const auto hidden = static_cast<std::uint64_t>(model_.architecture.hidden_size);
    estimate.activations += 2 * batch_.tokens * hidden * model_.widths.compute;
    if (delays_head()) estimate.loss = loss_bytes();
    estimate.communication = std::max(flight(model_.blocks.front()), flight(model_.blocks[1]));
    consider(estimate);
  }

  std::uint64_t logits_budget() const { return static_cast<std::uint64_t>(config_.logits_chunk_mb) << 20; }
  std::uint64_t loss_bytes() const { return loss_memory(model_, batch_, logits_budget()); }

  void update() {
    if (early() && !several()) return;  // it happens block by block, while the gradients of one are there
    auto estimate = instant("update");
    estimate.activations = 0;
    estimate.gradients = split(whole_trained_);
    const std::uint64_t copies = model_.fused_update                                    ? 0
                                 : config_.optimizer == config::OptimizerKind::adadelta ? 3
                                 : config_.optimizer == config::OptimizerKind::adam     ? 2
                                                                                        : 1;
    estimate.optimizer += copies * split(largest_trained_);
    consider(estimate);
  }

  /// Forward passes alone: nothing is kept for a backward.
  void evaluation() {
    const auto width = static_cast<std::uint64_t>(model_.architecture.hidden_size) * model_.widths.compute;
    for (std::size_t b = 1; b < model_.blocks.size(); ++b) {
      if (!process_.owned[b]) continue;
      auto estimate = instant("evaluation");
      estimate.activations = batch_memory(model_, evaluation_) + evaluation_.tokens * width;
      estimate.gathered = gathered(b);
      if (b == head()) {
        estimate.loss = loss_memory(model_, evaluation_, logits_budget());
      } else {
        estimate.activations += layer_memory(model_, model_.blocks[b], evaluation_, policy_).forward;
      }
      consider(estimate);
    }
  }

  /// One tensor at a time: whole, where it is in shards, and in host memory, where it is on a device.
  void saving() {
    auto estimate = instant("saving");
    estimate.activations = 0;
    if (peers()) estimate.communication = 2 * largest_trained_;
    consider(estimate);
  }

  /// A block's trained tensors as they were read back beside the live ones, and the logits of a few tokens three times:
  /// live, read back, and their difference (engine/torch/verification).
  void verification() {
    const auto vocabulary = model_.architecture.vocabulary;
    const auto tokens = std::min<std::uint64_t>(batch_.tokens, static_cast<std::uint64_t>(probe_tokens(vocabulary)));
    for (std::size_t b = 0; b < model_.blocks.size(); ++b) {
      if (!process_.owned[b]) continue;
      auto estimate = instant("verification");
      estimate.activations = tokens * static_cast<std::uint64_t>(model_.architecture.hidden_size) * 8;
      estimate.gathered = gathered(b);
      const bool tied = b == head() && model_.architecture.tied_embeddings;
      estimate.loading = model_.blocks[b].trained + (tied ? model_.blocks.front().trained : 0);
      if (b == head()) estimate.loss = 3 * tokens * static_cast<std::uint64_t>(vocabulary) * 4;
      consider(estimate);
    }
  }

  const config::Config& config_;
  const ModelShape& model_;
  const ProcessShape& process_;
  const BatchShape &batch_, &evaluation_;
  config::Recompute policy_;
  std::uint64_t whole_frozen_ = 0, whole_trained_ = 0, largest_trained_ = 0;
  MemoryEstimate base_, best_;
};

}  // namespace

MemoryEstimate estimate_process(const config::Config& config, const ModelShape& model, const ProcessShape& process,
                                const BatchShape& batch, const BatchShape& evaluation) {
  return Timeline(config, model, process, batch, evaluation).peak();
}

}  // namespace lorica::engine
