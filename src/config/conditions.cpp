#include "config/conditions.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.hpp"
#include "config/value.hpp"

namespace lorica::config {
namespace {

/// The text with each {option} replaced by that option's value.
std::string filled_in(std::string text, const Config& config) {
  for (std::size_t open = 0; (open = text.find('{', open)) != std::string::npos;) {
    const auto close = text.find('}', open);
    const auto& row = option(text.substr(open + 1, close - open - 1));
    const auto value = plain_text(row, row.read(config));
    text.replace(open, close - open + 1, value);
    open += value.size();
  }
  return text;
}

template <class Enum>
std::string alternatives(std::initializer_list<Enum> values) {
  std::vector<std::string> names;
  for (const auto value : values) names.emplace_back(name_of(value));
  return join(names, " or ");
}

}  // namespace

std::optional<Inaction> inaction(const Option& option, const Circumstances& circumstances) {
  for (const auto& condition : option.acts_when) {
    if (condition.holds(circumstances)) continue;
    return Inaction{"no effect " + filled_in(condition.otherwise, circumstances.config), condition.refuse};
  }
  return std::nullopt;
}

namespace needs {

Condition that(std::string needs, std::function<bool(const Config&)> holds, std::string otherwise) {
  return {std::move(needs), [holds = std::move(holds)](const Circumstances& at) { return holds(at.config); },
          std::move(otherwise)};
}

Condition surely(std::string needs, std::function<bool(const Config&)> holds, std::string otherwise) {
  auto condition = that(std::move(needs), std::move(holds), std::move(otherwise));
  condition.refuse = true;
  return condition;
}

Condition quantization() {
  return that(
      "train_type qlora", [](const Config& c) { return c.train_type == TrainType::qlora; },
      "with train_type {train_type}: nothing is quantized");
}

Condition blocks() {
  return that(
      "quant_type nf4 or fp4", [](const Config& c) { return c.quant_type != QuantType::int8; },
      "with quant_type {quant_type}: each row has one scale");
}

Condition adapters() {
  return that(
      "train_type lora or qlora", [](const Config& c) { return c.train_type != TrainType::full; },
      "with train_type {train_type}: there are no adapters");
}

Condition clipping() {
  return that(
      "apply_gradient_clipping", [](const Config& c) { return c.apply_gradient_clipping; },
      "without apply_gradient_clipping");
}

Condition schedule(std::initializer_list<Scheduler> any_of) {
  return that(
      "lr_scheduler " + alternatives(any_of),
      [all = std::vector(any_of)](const Config& c) {
        return std::find(all.begin(), all.end(), c.lr_scheduler) != all.end();
      },
      "with lr_scheduler {lr_scheduler}");
}

Condition optimizer(std::initializer_list<OptimizerKind> any_of) {
  return that(
      "optimizer " + alternatives(any_of),
      [all = std::vector(any_of)](const Config& c) {
        return std::find(all.begin(), all.end(), c.optimizer) != all.end();
      },
      "with optimizer {optimizer}");
}

Condition evaluation() {
  return that(
      "eval_dataset or eval_fraction", [](const Config& c) { return !c.eval_dataset.empty() || c.eval_fraction > 0; },
      "without eval_dataset or eval_fraction");
}

Condition saving() {
  return that(
      "save_model", [](const Config& c) { return c.save_model; }, "with save_model false");
}

Condition several_processes() {
  return {"several processes",
          [](const Circumstances& at) {
            if (!is_about_training(at.command)) return false;
            const auto known = at.processes > 0 ? at.processes : at.config.world_size;
            return known < 0 || known > 1;
          },
          "with one process"};
}

Condition shards() {
  return that(
      "a sharding_strategy other than ddp", [](const Config& c) { return c.sharding_strategy != Sharding::ddp; },
      "with sharding_strategy {sharding_strategy}: every process has a copy of its own");
}

Condition hybrid() {
  return that(
      "sharding_strategy hybrid_full_shard or hybrid_shard_grad_op",
      [](const Config& c) {
        return c.sharding_strategy == Sharding::hybrid_full_shard ||
               c.sharding_strategy == Sharding::hybrid_shard_grad_op;
      },
      "with sharding_strategy {sharding_strategy}");
}

Condition accumulation() {
  return that(
      "gradient_accumulation_steps above 1", [](const Config& c) { return c.gradient_accumulation_steps > 1; },
      "with gradient_accumulation_steps {gradient_accumulation_steps}");
}

Condition pipeline() {
  return that(
      "pipeline_stages above 1", [](const Config& c) { return c.pipeline_stages > 1; }, "with one pipeline stage");
}

Condition profile() {
  return that(
      "profile", [](const Config& c) { return c.profile; }, "without profile");
}

Condition any_profile() {
  return that(
      "profile or profile_memory", [](const Config& c) { return c.profile || c.profile_memory; },
      "without profile or profile_memory");
}

Condition named_dataset(std::initializer_list<const char*> any_of) {
  const std::vector<std::string> names(any_of.begin(), any_of.end());
  return that(
      "dataset " + join(names, ", "),
      [names](const Config& c) {
        return std::any_of(c.dataset.begin(), c.dataset.end(), [&](const std::string& name) {
          return std::find(names.begin(), names.end(), name) != names.end();
        });
      },
      "with dataset {dataset}: it is for " + join(names, ", "));
}

Condition sampling() {
  return that(
      "temperature above 0", [](const Config& c) { return c.temperature > 0; },
      "with temperature 0: the likeliest token is always taken");
}

Condition no_input_file() {
  return {"dataset, not input",
          [](const Circumstances& at) { return at.command != Command::tokenize || at.config.input.empty(); },
          "with --input: its lines are tokenized as they are"};
}

}  // namespace needs
}  // namespace lorica::config
