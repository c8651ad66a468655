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

class Search {
 public:
  explicit Search(std::vector<Remedy>& found) : found_(found) {}
  bool enough() const { return found_.size() >= kEnough; }

  /// Notes the attempt if it fits, unless what it says is there already.
  bool note(const Attempt& attempt) {
    if (enough() || attempt.words.empty()) return false;
    Plan plan;
    if (!fits(attempt, plan)) return false;
    Remedy remedy{join(attempt.words, " "), plan.heaviest().memory.total(), plan.host_needed};
    const auto same = [&](const Remedy& other) { return other.change == remedy.change; };
    if (std::none_of(found_.begin(), found_.end(), same)) found_.push_back(std::move(remedy));
    return true;
  }
  /// Makes the change once, or as often as it takes to fit.
  bool with(Attempt attempt, const Change& change, int times = 1) {
    for (; times > 0 && change(attempt); --times) {
      if (note(attempt)) return true;
    }
    return false;
  }

 private:
  static constexpr std::size_t kEnough = 3;
  std::vector<Remedy>& found_;
};

}  // namespace

void find_remedies(const Config& config, const PlanFigures& figures, Plan& plan) {
  constexpr int kDoublings = 10;
  Search search(plan.remedies);
  Attempt first{config, figures, {}};
  first.figures.tokens = plan.tokens;
  auto all = first;
  // What costs time only: each alone, and together with those before it. Offloading last: it needs host memory.
  for (const auto& change : {Change(recompute), Change(one_at_a_time), Change(shard_all)}) {
    search.with(first, change);
    if (change(all) && plan.remedies.empty()) search.note(all);
  }
  search.with(first, offload);
  if (plan.remedies.empty()) search.with(all, offload);
  // What changes the training, or needs more hardware: alone where time isn't what is lacking, else on top of all that.
  auto offloaded = all;
  offload(offloaded);
  for (const auto& start : {first, all, offloaded}) {
    if (!plan.remedies.empty() && !start.words.empty()) break;
    search.with(start, quantize);
    search.with(start, shorten, kDoublings);
    search.with(start, more_devices, kDoublings);
    auto quantized = start;
    if (start.words.empty() || !plan.remedies.empty() || !quantize(quantized)) continue;
    search.with(quantized, shorten, kDoublings);
    search.with(quantized, more_devices, kDoublings);
  }
  plan.beyond = plan.remedies.empty();
}

}  // namespace lorica::engine
