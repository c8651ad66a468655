#include "parallel/pipeline_schedule.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace lorica::parallel {
namespace {

using Kind = Action::Kind;

/// The forward passes of one stage: groups of `stages` micro-batches go through chunk 0, then chunk 1, …; with one
/// chunk that is simply one micro-batch after the other. The last group may be smaller.
std::vector<Action> forwards(int stages, int chunks, int micro_batches) {
  std::vector<Action> order;
  for (int group = 0; group < micro_batches; group += stages) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      for (int i = group; i < std::min(group + stages, micro_batches); ++i) order.push_back({Kind::forward, chunk, i});
    }
  }
  return order;
}

/// The backward passes: the same, last chunk first.
std::vector<Action> backwards(int stages, int chunks, int micro_batches) {
  auto order = forwards(stages, chunks, micro_batches);
  for (auto& action : order) action = {Kind::backward, chunks - 1 - action.chunk, action.micro_batch};
  return order;
}

/// `warm_up` forward passes, then forward and backward in turns, then the backward passes that are left.
std::vector<Action> in_turns(const std::vector<Action>& forward, const std::vector<Action>& backward,
                             std::size_t warm_up) {
  warm_up = std::min(warm_up, forward.size());
  std::vector<Action> order(forward.begin(), forward.begin() + static_cast<std::ptrdiff_t>(warm_up));
  for (std::size_t i = warm_up; i < forward.size(); ++i) {
    order.push_back(forward[i]);
    order.push_back(backward[i - warm_up]);
  }
  order.insert(order.end(), backward.end() - static_cast<std::ptrdiff_t>(warm_up), backward.end());
  return order;
}

Schedule empty_schedule(int stages, int chunks, int micro_batches) {
  ensure(stages > 0 && chunks > 0 && micro_batches >= 0, "a schedule of {} stages, {} chunks and {} micro-batches",
         stages, chunks, micro_batches);
  return {stages, chunks, micro_batches, {}};
}

}  // namespace

int Schedule::most_in_flight(int stage) const {
  int now = 0, most = 0;
  for (const auto& action : actions.at(static_cast<std::size_t>(stage))) {
    now += action.kind == Kind::forward ? 1 : -1;
    most = std::max(most, now);
  }
  return most;
}

Schedule training_schedule(int stages, int chunks, int micro_batches) {
  auto schedule = empty_schedule(stages, chunks, micro_batches);
  // Interleaving wants whole groups of micro-batches. The order for the next whole number of groups, without those that
  // don't exist, is right as well: leaving out all passes of a micro-batch makes none of the others wait for more.
  const int padded = chunks == 1 ? micro_batches : (micro_batches + stages - 1) / stages * stages;
  for (int stage = 0; stage < stages; ++stage) {
    const int behind = stages - stage - 1;
    const int warm_up = chunks == 1 ? behind : 2 * behind + (chunks - 1) * stages;
    auto order = in_turns(forwards(stages, chunks, padded), backwards(stages, chunks, padded),
                          static_cast<std::size_t>(warm_up));
    std::erase_if(order, [&](const Action& action) { return action.micro_batch >= micro_batches; });
    schedule.actions.push_back(std::move(order));
  }
  return schedule;
}

Schedule forward_schedule(int stages, int chunks, int micro_batches) {
  auto schedule = empty_schedule(stages, chunks, micro_batches);
  schedule.actions.assign(static_cast<std::size_t>(stages), forwards(stages, chunks, micro_batches));
  return schedule;
}

Simulation simulate(const Schedule& schedule, double forward_time, double backward_time) {
  const auto stages = static_cast<std::size_t>(schedule.stages);
  const int parts = schedule.stages * schedule.chunks;
  const auto micro_batches = static_cast<std::size_t>(schedule.micro_batches);
  // When a part has finished a micro-batch, by part · micro_batches + micro-batch; < 0: not yet.
  std::vector<double> forward(static_cast<std::size_t>(parts) * micro_batches, -1), backward = forward;
  std::vector<double> free(stages, 0), busy(stages, 0);
  std::vector<std::size_t> next(stages, 0);
  // The time at which what `action` needs is there; < 0: not yet.
  const auto ready = [&](std::size_t stage, const Action& action) {
    const int part = action.chunk * schedule.stages + static_cast<int>(stage);
    const auto at = [&](const std::vector<double>& done, int of) {
      return done[static_cast<std::size_t>(of) * micro_batches + static_cast<std::size_t>(action.micro_batch)];
    };
    if (action.kind == Kind::forward) return part == 0 ? 0 : at(forward, part - 1);
    return part == parts - 1 ? at(forward, part) : at(backward, part + 1);
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t stage = 0; stage < stages; ++stage) {
      for (; next[stage] < schedule.actions[stage].size(); ++next[stage]) {
        const auto& action = schedule.actions[stage][next[stage]];
        const double from = ready(stage, action);
        if (from < 0) break;
        const bool is_forward = action.kind == Kind::forward;
        const double time = is_forward ? forward_time : backward_time;
        busy[stage] += time;
        free[stage] = std::max(free[stage], from) + time;
        const auto part = static_cast<std::size_t>(action.chunk) * stages + stage;
        (is_forward ? forward : backward)[part * micro_batches + static_cast<std::size_t>(action.micro_batch)] =
            free[stage];
        moved = true;
      }
    }
  }
  Simulation result;
  result.length = *std::max_element(free.begin(), free.end());
  for (std::size_t stage = 0; stage < stages; ++stage) {
    ensure(next[stage] == schedule.actions[stage].size(), "stage {} of a pipeline waits for ever at its action {}",
           stage, next[stage]);
    result.idle.push_back(result.length > 0 ? 1 - busy[stage] / result.length : 0);
    result.bubble += result.idle.back() / static_cast<double>(stages);
  }
  return result;
}

}  // namespace lorica::parallel
