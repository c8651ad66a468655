#include "data/sampler.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.hpp"
#include "base/random.hpp"

namespace lorica::data {
namespace {

using Indices = std::vector<std::int64_t>;

void check_options(const SamplerOptions& options) {
  const auto at_least_one = [](const char* name, std::int64_t value) {
    if (value < 1) raise<ConfigError>("{} is {}; it must be at least 1", name, value);
  };
  at_least_one("batch_size", options.batch_size);
  at_least_one("gradient_accumulation_steps", options.accumulation);
  at_least_one("the number of data-parallel ranks", options.data_parallel);
  at_least_one("context_length", options.context_length);
  at_least_one("the packing look-ahead", options.look_ahead);
}

/// The micro-batches [0, loads.size()) that `rank` gets, heaviest first; -1 stands for an empty one. They are dealt in
/// rounds of similar weight, each round's heaviest to the rank with least so far: ranks run in lockstep, so a round
/// costs what its heaviest costs.
Indices deal(const std::vector<std::int64_t>& loads, std::int64_t rank, std::int64_t world) {
  Indices order(loads.size());
  std::iota(order.begin(), order.end(), 0);
  if (world == 1) return order;
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
    return loads[static_cast<std::size_t>(a)] > loads[static_cast<std::size_t>(b)];
  });
  std::vector<std::int64_t> totals(static_cast<std::size_t>(world), 0);
  Indices mine;
  for (std::size_t round = 0; round < order.size(); round += static_cast<std::size_t>(world)) {
    Indices ranks(static_cast<std::size_t>(world));
    std::iota(ranks.begin(), ranks.end(), 0);
    std::stable_sort(ranks.begin(), ranks.end(), [&](auto a, auto b) {
      return totals[static_cast<std::size_t>(a)] < totals[static_cast<std::size_t>(b)];
    });
    std::int64_t got = -1;
    for (std::size_t i = 0; i < ranks.size() && round + i < order.size(); ++i) {
      totals[static_cast<std::size_t>(ranks[i])] += loads[static_cast<std::size_t>(order[round + i])];
      if (ranks[i] == rank) got = order[round + i];
    }
    mine.push_back(got);
  }
  return mine;
}

}  // namespace

MicroBatch make_micro_batch(const TokenizedDataset& dataset, std::span<const std::int64_t> indices) {
  MicroBatch batch;
  batch.offsets.push_back(0);
  for (const auto index : indices) {
    const auto example = dataset.example(index);
    const auto begin = batch.labels.size();
    batch.input_ids.insert(batch.input_ids.end(), example.tokens.begin(), example.tokens.end());
    batch.labels.resize(begin + example.tokens.size(), kIgnoreLabel);
    // Position t predicts token t + 1, so the last position of a sequence predicts nothing and nothing predicts the
    // first token.
    for (const auto& span : example.supervised) {
      for (auto target = span.begin; target < span.end; ++target)
        batch.labels[begin + target - 1] = example.tokens[target];
    }
    for (std::size_t position = 0; position < example.tokens.size(); ++position) {
      batch.positions.push_back(static_cast<std::int32_t>(position));
    }
    batch.offsets.push_back(static_cast<std::int32_t>(batch.input_ids.size()));
    batch.examples.push_back(example.id);
  }
  return batch;
}

BatchSampler::BatchSampler(TokenizedDataset dataset, SamplerOptions options)
    : dataset_(std::move(dataset)), options_(options) {
  check_options(options_);
  if (dataset_.empty()) raise<DataError>("the data set has no examples to draw from");
  if (options_.packing && dataset_.longest() > options_.context_length) {
    raise<DataError>("packing: an example has {} tokens, but context_length is {}", dataset_.longest(),
                     options_.context_length);
  }
  plan_ = make_plan(0);
}

BatchSampler::Plan BatchSampler::make_plan(std::int64_t epoch) const {
  constexpr std::uint64_t kStream = 0x64617461;  // apart from dropout's and the split's numbers
  Indices order;
  if (options_.shuffle) {
    const auto drawn = options_.reshuffle ? static_cast<std::uint64_t>(epoch) : 0;
    order = random_permutation(random_key({options_.seed, kStream, drawn}), dataset_.size());
  } else {
    order.resize(static_cast<std::size_t>(dataset_.size()));
    std::iota(order.begin(), order.end(), 0);
  }
  Plan plan{.epoch = epoch, .examples = {}, .starts = {}};
  if (options_.packing) {
    pack(order, plan);
    return plan;
  }
  for (std::int64_t start = 0; start < dataset_.size(); start += options_.batch_size) plan.starts.push_back(start);
  plan.starts.push_back(dataset_.size());
  plan.examples = std::move(order);
  return plan;
}

/// First fit: a micro-batch takes, in order, every example of the look-ahead window that still fits. The window's first
/// always does, so that no example waits for ever.
void BatchSampler::pack(const Indices& order, Plan& plan) const {
  const auto capacity = options_.batch_size * options_.context_length;
  Indices window, left;
  std::size_t next = 0;
  plan.starts.push_back(0);
  while (next < order.size() || !window.empty()) {
    while (next < order.size() && static_cast<std::int64_t>(window.size()) < options_.look_ahead) {
      window.push_back(order[next++]);
    }
    auto room = capacity;
    left.clear();
    for (const auto index : window) {
      const auto length = dataset_.length(index);
      if (length <= room) {
        plan.examples.push_back(index);
        room -= length;
      } else {
        left.push_back(index);
      }
    }
    window.swap(left);
    plan.starts.push_back(static_cast<std::int64_t>(plan.examples.size()));
  }
}

std::int64_t BatchSampler::steps_of(const Plan& plan) const {
  return (plan.micro_batches() + micro_batches_per_step() - 1) / micro_batches_per_step();
}

std::int64_t BatchSampler::steps_in_epoch(std::int64_t epoch) const {
  const bool same = !options_.packing || !options_.shuffle || !options_.reshuffle || epoch == plan_.epoch;
  return steps_of(same ? plan_ : make_plan(epoch));
}

std::int64_t BatchSampler::total_steps(std::int64_t epochs) const {
  std::int64_t steps = 0;
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) steps += steps_in_epoch(epoch);
  return steps;
}

std::span<const std::int64_t> BatchSampler::plan_examples(std::int64_t index) const {
  const auto begin = plan_.starts[static_cast<std::size_t>(index)],
             end = plan_.starts[static_cast<std::size_t>(index) + 1];
  return std::span(plan_.examples).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

std::int64_t BatchSampler::plan_tokens(std::int64_t index) const {
  std::int64_t tokens = 0;
  for (const auto example : plan_examples(index)) tokens += dataset_.length(example);
  return tokens;
}

StepBatch BatchSampler::step_for(std::int64_t rank, std::int64_t world) const {
  ensure(world >= 1 && rank >= 0 && rank < world, "rank {} of {}", rank, world);
  const auto first = step_ * micro_batches_per_step();
  const auto last = std::min(first + micro_batches_per_step(), plan_.micro_batches());
  StepBatch step;
  std::vector<std::int64_t> loads;
  for (auto index = first; index < last; ++index) {
    loads.push_back(plan_tokens(index));
    step.tokens += loads.back();
    for (const auto example : plan_examples(index)) {
      step.supervised += dataset_.supervised(example);
      ++step.examples;
    }
  }
  for (const auto index : deal(loads, rank, world)) {
    step.micro_batches.push_back(
        make_micro_batch(dataset_, index < 0 ? std::span<const std::int64_t>() : plan_examples(first + index)));
  }
  return step;
}

void BatchSampler::advance() {
  ++steps_taken_;
  if (++step_ < steps_of(plan_)) return;
  step_ = 0;
  plan_ = make_plan(++epoch_);
}

StepBatch BatchSampler::next(std::int64_t rank, std::int64_t world) {
  auto step = step_for(rank, world);
  advance();
  return step;
}

MicroBatch BatchSampler::largest_micro_batch() const {
  Indices order(static_cast<std::size_t>(dataset_.size()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return dataset_.length(a) > dataset_.length(b); });
  if (!options_.packing) {
    order.resize(static_cast<std::size_t>(std::min(options_.batch_size, dataset_.size())));
    return make_micro_batch(dataset_, order);
  }
  Indices chosen;
  auto room = options_.batch_size * options_.context_length;
  for (const auto index : order) {
    if (dataset_.length(index) > room) continue;
    chosen.push_back(index);
    room -= dataset_.length(index);
  }
  return make_micro_batch(dataset_, chosen);
}

/// What gives a position its meaning. accumulation and data_parallel count by their product alone.
nlohmann::json BatchSampler::order_options() const {
  nlohmann::json options = {{"seed", options_.seed},
                            {"batch_size", options_.batch_size},
                            {"micro_batches_per_step", micro_batches_per_step()},
                            {"packing", options_.packing},
                            {"shuffle", options_.shuffle},
                            {"reshuffle", options_.reshuffle}};
  if (options_.packing) {
    options["context_length"] = options_.context_length;
    options["look_ahead"] = options_.look_ahead;
  }
  return options;
}

nlohmann::json BatchSampler::state() const {
  return {{"epoch", epoch_},
          {"step", step_},
          {"steps_taken", steps_taken_},
          {"dataset", dataset_.content_hash()},
          {"options", order_options()}};
}

void BatchSampler::restore(const nlohmann::json& state) {
  try {
    if (state.at("dataset") != dataset_.content_hash()) {
      raise<DataError>(
          "the checkpoint was made with other data: the files, the tokenizer or the data options have changed since. "
          "Restore "
          "them, or start a new run.");
    }
    const auto now = order_options();
    const auto& then = state.at("options");
    for (const auto& [name, value] : now.items()) {
      if (!then.contains(name) || then.at(name) != value) {
        raise<DataError>(
            "the checkpoint's place in the data depends on {}: it was {} and is now {}. Set it back, or start a new "
            "run.",
            name, then.contains(name) ? then.at(name).dump() : "absent", value.dump());
      }
    }
    const auto epoch = state.at("epoch").get<std::int64_t>(), step = state.at("step").get<std::int64_t>();
    const auto taken = state.at("steps_taken").get<std::int64_t>();
    if (epoch < 0 || step < 0 || taken < step) raise<DataError>("the checkpoint's place in the data is damaged");
    auto plan = make_plan(epoch);
    if (step >= steps_of(plan)) raise<DataError>("the checkpoint's place in the data is beyond the epoch's end");
    plan_ = std::move(plan);
    epoch_ = epoch, step_ = step, steps_taken_ = taken;
  } catch (const nlohmann::json::exception& error) {
    raise<DataError>("the checkpoint's place in the data can't be read: {}", error.what());
  }
}

}  // namespace lorica::data
