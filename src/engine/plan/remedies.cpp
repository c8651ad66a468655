#include "engine/plan/remedies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/strings.hpp"

namespace lorica::engine {
namespace {

using config::Config;

struct Attempt {
  Config config;
  PlanFigures figures;
  std::vector<std::string> words;
};

/// Applies a change; false if there is nothing to change.
using Change = std::function<bool(Attempt&)>;

bool recompute(Attempt& attempt) {
  if (config::recompute_policy(attempt.config) == config::Recompute::recompute) return false;
  attempt.config.use_gradient_checkpointing = true;
  attempt.config.recompute = config::Recompute::recompute;
  attempt.words.emplace_back("--recompute recompute");
  return true;
}

bool one_at_a_time(Attempt& attempt) {
  const auto batch = attempt.config.batch_size;
  if (batch <= 1) return false;
  attempt.figures.tokens = std::max<std::int64_t>(1, attempt.figures.tokens / batch);
  attempt.config.gradient_accumulation_steps *= batch;
  attempt.config.batch_size = 1;
  attempt.words.push_back(
      fmt::format("--batch_size 1 --gradient_accumulation_steps {}", attempt.config.gradient_accumulation_steps));
  return true;
}

bool shard_all(Attempt& attempt) {
  if (attempt.config.sharding_strategy == config::Sharding::full_shard || planned_processes(attempt.config) < 2)
    return false;
  attempt.config.sharding_strategy = config::Sharding::full_shard;
  attempt.words.emplace_back("--sharding_strategy full_shard");
  return true;
}

bool offload(Attempt& attempt) {
  if (attempt.config.use_cpu_offload || device_kind(attempt.config) == DeviceKind::cpu) return false;
  attempt.config.use_cpu_offload = true;
  attempt.words.emplace_back("--use_cpu_offload true");
  return true;
}

bool quantize(Attempt& attempt) {
  if (attempt.config.train_type == config::TrainType::qlora) return false;
  attempt.config.train_type = config::TrainType::qlora;
  attempt.config.n_bits = 4;
  attempt.words.emplace_back("--train_type qlora");
  return true;
}

bool shorten(Attempt& attempt) {
  const auto length = attempt.config.context_length;
  if (length <= 128) return false;
  const auto shorter = std::max<std::int64_t>(128, length / 2);
  attempt.figures.tokens = std::max<std::int64_t>(1, attempt.figures.tokens * shorter / length);
  attempt.config.context_length = shorter;
  std::erase_if(attempt.words, [](const std::string& word) { return word.starts_with("--context_length"); });
  attempt.words.push_back(fmt::format("--context_length {}", shorter));
  return true;
}

bool more_devices(Attempt& attempt) {
  const auto now = planned_processes(attempt.config);
  if (now >= 1024) return false;
  attempt.config.world_size = now * 2;
  std::erase_if(attempt.words, [](const std::string& word) { return word.starts_with("--world_size"); });
  attempt.words.push_back(fmt::format("--world_size {}", now * 2));
  return true;
}

bool fits(const Attempt& attempt, Plan& plan) {
  auto figures = attempt.figures;
  figures.time = figures.remedies = false;
  plan = make_plan(attempt.config, figures);
  return plan.fits;
}

/// Adds the remedy if the change makes it fit; for what can be repeated, as often as needed.
bool attempt_with(const Attempt& start, const Change& change, bool repeat, std::vector<Remedy>& remedies) {
  auto attempt = start;
  for (int times = 0; times < (repeat ? 10 : 1) && change(attempt); ++times) {
    Plan plan;
    if (!fits(attempt, plan)) continue;
    remedies.push_back({join(attempt.words, " "), plan.heaviest().memory.total(), plan.host_needed});
    return true;
  }
  return false;
}

}  // namespace

void find_remedies(const Config& config, const PlanFigures& figures, Plan& plan) {
  constexpr std::size_t kEnough = 3;
  Attempt first{config, figures, {}};
  first.figures.tokens = plan.tokens;
  auto attempt = first;
  // What costs time only: each alone, and together with those before it.
  for (const auto& change : {Change(recompute), Change(one_at_a_time), Change(shard_all), Change(offload)}) {
    attempt_with(first, change, false, plan.remedies);
    const bool more = !attempt.words.empty();
    if (!change(attempt) || !more || !plan.remedies.empty()) continue;
    Plan together;
    if (fits(attempt, together)) {
      plan.remedies.push_back({join(attempt.words, " "), together.heaviest().memory.total(), together.host_needed});
    }
  }
  // What changes the training, or needs more hardware: on top of all that, unless something fits already.
  const bool found = !plan.remedies.empty();
  const auto start = found ? first : attempt;
  for (const auto& [change, repeat] :
       {std::pair<Change, bool>{quantize, false}, {shorten, true}, {more_devices, true}}) {
    if (plan.remedies.size() < kEnough) attempt_with(start, change, repeat, plan.remedies);
  }
  if (!plan.remedies.empty()) return;
  quantize(attempt);
  attempt_with(attempt, shorten, true, plan.remedies);
  attempt_with(attempt, more_devices, true, plan.remedies);
  plan.beyond = plan.remedies.empty();
}

}  // namespace lorica::engine
