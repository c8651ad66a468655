#include "engine/torch/verification.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"
#include "engine/torch/probe_stores.hpp"
#include "parallel/world.hpp"

namespace lorica::engine {
namespace {

/// The scale of each pair as a reader of the folder will see it.
void check_adapter_config(const Model& model, const std::filesystem::path& folder) {
  if (!model.adapter) return;
  const auto file = folder / io::kAdapterConfigFile;
  const io::AdapterMatcher then(io::read_adapter_config(file), file.string()), now(*model.adapter, file.string());
  for (const auto& module : model.adapted) {
    if (!then.is_target(module) || then.scale(module) != now.scale(module)) {
      raise<Error>("{}: reads back with another scale for '{}' than it was trained with", file.string(), module);
    }
  }
}

/// The first tokens of `probe`.
data::MicroBatch first_tokens(const data::MicroBatch& probe, std::int64_t most) {
  const auto count = std::min(most, probe.tokens());
  if (count == probe.tokens()) return probe;
  data::MicroBatch part;
  part.input_ids.assign(probe.input_ids.begin(), probe.input_ids.begin() + count);
  part.positions.assign(probe.positions.begin(), probe.positions.begin() + count);
  part.labels.assign(static_cast<std::size_t>(count), data::kIgnoreLabel);
  for (std::size_t s = 0; s < probe.examples.size() && probe.offsets[s] < count; ++s) {
    part.offsets.push_back(probe.offsets[s]);
    part.examples.push_back(probe.examples[s]);
  }
  part.offsets.push_back(static_cast<std::int32_t>(count));
  return part;
}

/// Undefined on pipeline stages but the last.
at::Tensor logits_of(Model& model, Executor& executor, const data::MicroBatch& batch) {
  auto logits = executor.logits(batch);
  model.store->finish_step();
  return logits;
}

/// The model with `store` in place of its own, as long as this lives.
class Replaced {
 public:
  Replaced(Model& model, std::unique_ptr<ParameterStore> store) : model_(model), own_(std::move(model.store)) {
    model.store = std::move(store);
  }
  ~Replaced() { model_.store = std::move(own_); }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;

 private:
  Model& model_;
  std::unique_ptr<ParameterStore> own_;
};

}  // namespace

std::int64_t probe_tokens(std::int64_t vocabulary) {
  constexpr std::int64_t kLogitsBytes = 8 << 20, kMost = 64;
  return std::clamp<std::int64_t>(kLogitsBytes / (4 * std::max<std::int64_t>(vocabulary, 1)), 1, kMost);
}

SavedCheck verify_saved(Model& model, Executor& executor, parallel::World* world, const std::filesystem::path& folder,
                        const data::MicroBatch& probe) {
  const at::NoGradGuard no_graph;
  check_adapter_config(model, folder);
  const auto tokens = first_tokens(probe, probe_tokens(model.architecture.vocabulary));
  const auto live = logits_of(model, executor, tokens);
  const SavedState saved(model, folder);
  SavedCheck check;
  check.tokens = tokens.tokens();
  {
    auto store = std::make_unique<ReadBackStore>(*model.store, saved);
    const auto& read_back = *store;
    const Replaced replaced(model, std::move(store));
    const auto reread = logits_of(model, executor, tokens);
    check.differing = read_back.differing();
    if (live.defined()) check.logits_difference = (live - reread).abs_().max().item<double>();
  }
  if (world == nullptr) return check;
  for (const auto& name : world->all_gather_text(check.differing)) {
    if (check.differing.empty()) check.differing = name;
  }
  for (const auto& values : world->all_gather({check.logits_difference})) {
    check.logits_difference = std::max(check.logits_difference, values.front());
  }
  return check;
}

}  // namespace lorica::engine
