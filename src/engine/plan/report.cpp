// A plan for people, and as JSON.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/strings.hpp"
#include "base/wording.hpp"
#include "engine/plan/plan.hpp"

namespace lorica::engine {
namespace {

using Row = std::pair<const char*, std::uint64_t>;

std::vector<Row> rows_of(const MemoryEstimate& m) {
  return {{"weights", m.weights},     {"trained", m.trained},
          {"gathered", m.gathered},   {"gradients", m.gradients},
          {"optimizer", m.optimizer}, {"activations", m.activations},
          {"loss", m.loss},           {"communication", m.communication},
          {"loading", m.loading},     {"base", m.base}};
}

const char* name_of(DeviceKind device) {
  return device == DeviceKind::cuda ? "cuda" : device == DeviceKind::mps ? "mps" : "cpu";
}

std::string amount(double bytes) {
  return format_bytes(static_cast<std::uint64_t>(bytes));
}

std::string stage_text(const Plan& plan, const StagePlan& stage) {
  std::string text;
  if (plan.stages.size() > 1) {
    text += fmt::format("\nStage {}: blocks {} to {}, {} process{}\n", stage.stage, stage.first_block, stage.last_block,
                        stage.processes, stage.processes > 1 ? "es" : "");
  } else {
    text += fmt::format("\nEach process\n");
  }
  text +=
      fmt::format("  memory at the peak  {:>12}   ({})\n", format_bytes(stage.memory.total()), stage.memory.instant);
  for (const auto& [name, bytes] : rows_of(stage.memory)) {
    if (bytes > 0) text += fmt::format("    {:<17} {:>12}\n", name, format_bytes(bytes));
  }
  if (stage.memory.host > 0) text += fmt::format("  host memory         {:>12}\n", format_bytes(stage.memory.host));
  const auto& t = stage.traffic;
  if (t.total() > 0) {
    text += fmt::format("  sent in a step      {:>12}   (parameters {}, gradients {}, between stages {})\n",
                        amount(t.total()), amount(t.gathered), amount(t.reduced), amount(t.messages));
  }
  if (t.offload > 0) text += fmt::format("  to and from host    {:>12}   in a step\n", amount(t.offload));
  return text;
}

std::string time_text(const Plan& plan) {
  if (plan.flops <= 0) return "\nTime of a step: not estimated; give --tflops (of one device) and --bandwidth\n";
  auto text = fmt::format("\nA step takes about {}: products {} at {:.3g} TFLOP/s", format_seconds(plan.time.total),
                          format_seconds(plan.time.compute), plan.flops / 1e12);
  if (plan.time.network > 0) text += fmt::format(", traffic {} beside them", format_seconds(plan.time.network));
  if (plan.time.bubble > 0) text += fmt::format(", {:.0f} % idle in the pipeline", 100 * plan.time.bubble);
  if (plan.processes > 1 && plan.bandwidth == 0) text += "; give --bandwidth to count the traffic";
  return text + "\n";
}

std::string verdict(const Plan& plan) {
  const auto needed = plan.heaviest().memory.total();
  std::string text;
  if (plan.device_memory == 0) return "\nGive --device_memory (such as 24GB) to learn whether it fits.\n";
  const bool host = plan.device == DeviceKind::cpu;
  text = fmt::format("\n{}: {} of {}{}", plan.fits ? "It fits" : "It doesn't fit", format_bytes(needed),
                     format_bytes(plan.device_memory),
                     !host                ? " on each device"
                     : plan.processes > 1 ? " of this machine's memory for each process"
                                          : " of this machine's memory");
  if (plan.host_needed > 0) {
    text += fmt::format(", {} of {} of host memory", format_bytes(plan.host_needed), format_bytes(plan.host_memory));
  }
  text += "\n";
  bool offloads = plan.host_needed > 0;
  for (const auto& remedy : plan.remedies) {
    text += fmt::format("  with {}: {}", remedy.change, format_bytes(remedy.device));
    if (remedy.host > 0) text += fmt::format(", and {} of host memory", format_bytes(remedy.host));
    text += "\n";
    offloads = offloads || remedy.host > 0;
  }
  if (plan.beyond) {
    text += fmt::format("  No change tried makes it fit: take a smaller model, or {} with more memory.\n",
                        host ? "a machine" : "devices");
  }
  if (offloads) text += "  (use_cpu_offload is planned for, but train refuses it on a GPU: it is not built yet.)\n";
  return text;
}

}  // namespace

std::string plan_text(const Plan& plan) {
  auto text = fmt::format("{}, {} trained; {} on {}", counted(plan.parameters, "parameter"),
                          format_count(plan.trainable), counted(plan.processes, "process"), name_of(plan.device));
  if (plan.processes > 1) {
    text += fmt::format(": {} x {} x {}", counted(static_cast<std::int64_t>(plan.stages.size()), "stage"),
                        counted(plan.replicas, "copy"), counted(plan.shards, "shard"));
  }
  text += fmt::format("\n{} in the heaviest micro-batch, {} a step\n", counted(plan.tokens, "token"),
                      counted(plan.micro_batches, "micro-batch"));
  for (const auto& stage : plan.stages) text += stage_text(plan, stage);
  return text + time_text(plan) + verdict(plan);
}

std::string plan_json(const Plan& plan) {
  nlohmann::ordered_json json;
  json["device"] = name_of(plan.device);
  json["processes"] = plan.processes;
  json["shards"] = plan.shards;
  json["replicas"] = plan.replicas;
  json["tokens"] = plan.tokens;
  json["micro_batches"] = plan.micro_batches;
  json["parameters"] = plan.parameters;
  json["trainable"] = plan.trainable;
  json["stages"] = nlohmann::ordered_json::array();
  for (const auto& stage : plan.stages) {
    nlohmann::ordered_json entry;
    entry["stage"] = stage.stage;
    entry["processes"] = stage.processes;
    entry["blocks"] = {stage.first_block, stage.last_block};
    entry["peak_bytes"] = stage.memory.total();
    entry["instant"] = stage.memory.instant;
    for (const auto& [name, bytes] : rows_of(stage.memory)) entry["memory"][name] = bytes;
    entry["host_bytes"] = stage.memory.host;
    entry["sent"] = {{"gathered", stage.traffic.gathered},
                     {"reduced", stage.traffic.reduced},
                     {"messages", stage.traffic.messages},
                     {"offload", stage.traffic.offload}};
    json["stages"].push_back(std::move(entry));
  }
  json["peak_bytes"] = plan.heaviest().memory.total();
  json["host_bytes"] = plan.host_needed;
  json["device_memory"] = plan.device_memory;
  json["host_memory"] = plan.host_memory;
  json["fits"] = plan.fits;
  json["step_flops"] = plan.step_flops;
  json["step_seconds"] = plan.time.total;
  json["remedies"] = nlohmann::ordered_json::array();
  for (const auto& remedy : plan.remedies) {
    json["remedies"].push_back(
        {{"options", remedy.change}, {"peak_bytes", remedy.device}, {"host_bytes", remedy.host}});
  }
  return json.dump(2) + "\n";
}

}  // namespace lorica::engine
