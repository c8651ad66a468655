#include "train/metrics/fields.hpp"

#include <fmt/format.h>

namespace lorica::train {
namespace {

constexpr double kGib = 1.0 / (1ULL << 30);

constexpr Field<StepMetrics> kStep[] = {
    {"step", &StepMetrics::step, Part::both, "", 1, "optimizer steps done, this one included"},
    {"epoch", &StepMetrics::epoch, Part::training, "train/epoch", 1, "passes over the data so far, with fraction"},
    {"loss", &StepMetrics::loss, Part::training, "train/loss", 1,
     "mean cross entropy of the step's supervised tokens, in nats, before the update"},
    {"lr", &StepMetrics::lr, Part::training, "train/lr", 1, "learning rate of this step's update"},
    {"grad_norm", &StepMetrics::grad_norm, Part::training, "train/grad_norm", 1,
     "norm of all gradients together, before clipping; absent where it wasn't computed"},
    {"tokens", &StepMetrics::tokens, Part::both, "", 1,
     "tokens of this step that went through the model, over all processes"},
    {"supervised_tokens", &StepMetrics::supervised_tokens, Part::both, "", 1, "those of them that carry loss"},
    {"examples", &StepMetrics::examples, Part::both, "", 1, "examples of this step"},
    {"total_steps", &StepMetrics::total_steps, Part::timing, "", 1, "steps that the run is to have in all"},
    {"step_seconds", &StepMetrics::step_seconds, Part::timing, "", 1,
     "seconds from the start of the step to the end of its update"},
    {"tokens_per_second", &StepMetrics::tokens_per_second, Part::timing, "train/tokens_per_second", 1,
     "`tokens` / `step_seconds`"},
    {"matmul_share", &StepMetrics::matmul_share, Part::timing, "train/matmul_share", 1,
     "0 to 1: speed of the step's matrix products beside the best that this machine has shown; absent where that is "
     "not known"},
    {"peak_memory_bytes", &StepMetrics::peak_memory_bytes, Part::timing, "train/peak_memory_gib", kGib,
     "the most memory so far: of the device, or of the process on a CPU; with several processes of the largest (in "
     "TensorBoard in GiB)"},
    {"peak_allocated_bytes", &StepMetrics::peak_allocated_bytes, Part::timing, "train/peak_allocated_gib", kGib,
     "what tensors had of it; absent on a CPU (in TensorBoard in GiB)"},
};

constexpr Field<StartMetrics> kStart[] = {
    {"load_seconds", &StartMetrics::load_seconds, Part::timing, "", 1,
     "reading, quantizing and placing the weights, adapters included"},
    {"loaded_peak_bytes", &StartMetrics::loaded_peak_bytes, Part::timing, "", 1,
     "peak memory of the process when that was done"},
    {"ready_seconds", &StartMetrics::ready_seconds, Part::timing, "", 1,
     "from the start of the process until data, model and plan were ready"},
    {"first_step_seconds", &StartMetrics::first_step_seconds, Part::timing, "", 1,
     "from the start of the process until its first step began"},
    {"recompute", &StartMetrics::recompute, Part::timing, "", 1,
     "what `recompute` came to: `keep`, `recompute`, `selective`"},
};

constexpr Field<EvalMetrics> kEval[] = {
    {"step", &EvalMetrics::step, Part::both, "", 1, "optimizer steps done; 0: before the first"},
    {"epoch", &EvalMetrics::epoch, Part::both, "", 1, "passes over the training data so far, with fraction"},
    {"loss", &EvalMetrics::loss, Part::both, "eval/loss", 1,
     "mean cross entropy of all supervised evaluation tokens, in nats"},
    {"perplexity", &EvalMetrics::perplexity, Part::both, "eval/perplexity", 1, "exp(`loss`)"},
    {"tokens", &EvalMetrics::tokens, Part::both, "", 1, "supervised evaluation tokens"},
    {"examples", &EvalMetrics::examples, Part::both, "", 1, "evaluation examples"},
    {"seconds", &EvalMetrics::seconds, Part::timing, "", 1, "that the evaluation took"},
};

constexpr Field<EndMetrics> kEnd[] = {
    {"step", &EndMetrics::step, Part::both, "", 1, "optimizer steps done"},
    {"seconds", &EndMetrics::seconds, Part::timing, "", 1,
     "from the start of the process until everything was saved and checked"},
    {"peak_memory_bytes", &EndMetrics::peak_memory_bytes, Part::timing, "", 1,
     "the most memory by then, as in a step's record, saving and checking included"},
};

template <class Record>
void add_rows(std::string& text, std::span<const Field<Record>> fields, const std::string& inside, bool parts) {
  for (const auto& field : fields) {
    const auto key = inside + (field.part == Part::timing && !inside.ends_with("start.") ? "timing." : "") + field.key;
    text += fmt::format("| `{}` |", key);
    if (parts) text += field.part == Part::training ? " train |" : " train, system |";
    const std::string tag = *field.tag ? fmt::format("`{}`", field.tag) : "";
    text += fmt::format(" {} | {} |\n", tag, field.meaning);
  }
}

}  // namespace

std::span<const Field<StepMetrics>> step_fields() {
  return kStep;
}
std::span<const Field<StartMetrics>> start_fields() {
  return kStart;
}
std::span<const Field<EvalMetrics>> eval_fields() {
  return kEval;
}
std::span<const Field<EndMetrics>> end_fields() {
  return kEnd;
}

std::string fields_markdown() {
  const std::string head = "| key | TensorBoard | meaning |\n| --- | --- | --- |\n";
  std::string text =
      "### Kinds `train` and `system`: one step\n\n| key | kinds | TensorBoard | meaning |\n"
      "| --- | --- | --- | --- |\n";
  add_rows(text, step_fields(), "", true);
  add_rows(text, start_fields(), "timing.start.", true);
  text += "\n### Kind `eval`: one evaluation\n\n" + head;
  add_rows(text, eval_fields(), "", false);
  text += "\n### Kind `end`: the end of the run's last session\n\n" + head;
  add_rows(text, end_fields(), "", false);
  return text;
}

}  // namespace lorica::train
