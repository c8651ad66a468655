#include "train/model_lines.hpp"

#include <fmt/format.h>

#include "base/parallel.hpp"
#include "base/strings.hpp"
#include "base/wording.hpp"

namespace lorica::train {
namespace {

/// What a run does with activations.
std::string_view policy_text(std::string_view recompute) {
  if (recompute == "keep") return "activations are kept";
  if (recompute == "selective") return "matrix products are kept for backward, the rest is recomputed";
  return "layers are recomputed in backward";
}

}  // namespace

std::string trainable_line(const engine::ModelFacts& facts) {
  const auto all = facts.parameters + (facts.adapted.empty() ? 0 : facts.trainable);
  return fmt::format("trainable params: {} || all params: {} || trainable%: {:.4f}", format_count(facts.trainable),
                     format_count(all), 100.0 * static_cast<double>(facts.trainable) / static_cast<double>(all));
}

std::vector<std::string> model_lines(const engine::ModelFacts& facts, const engine::MemoryReport& memory,
                                     double seconds) {
  const auto adapters = static_cast<std::int64_t>(facts.adapted.size());
  return {fmt::format("model: {} with {}, linear layers in {}, computing in {} on {} ({}); loaded in {}", facts.family,
                      counted(facts.parameters, "parameter"), facts.storage, facts.compute, facts.device,
                      counted(thread_count(), "thread"), format_seconds(seconds)),
          trainable_line(facts),
          fmt::format("{}weights {}, trained {}; {}",
                      adapters == 0 ? "" : fmt::format("adapters on {}; ", counted(adapters, "module")),
                      format_bytes(memory.weights), format_bytes(memory.trainable), policy_text(facts.recompute))};
}

}  // namespace lorica::train
