// Options that set others, and values that follow from others when they aren't given.
#include <fmt/format.h>

#include "config/settings.hpp"
#include "config/value.hpp"

namespace lorica::config {
namespace {

struct Context {
  Command command;
  const Chosen& chosen;
  ParsedConfig& parsed;
  std::vector<std::string>& problems;

  const Setting* find(const std::string& name) const {
    const auto entry = chosen.find(name);
    return entry == chosen.end() ? nullptr : &entry->second;
  }
  void conflict(const Setting& a, const Setting& b) const {
    problems.push_back(fmt::format("{} {} and {} {}: they contradict each other; give one", a.source,
                                   plain_text(*a.option, a.value), b.source, plain_text(*b.option, b.value)));
  }
};

/// Of two settings that speak of the same thing, the one that counts; a contradiction on one level is a problem.
const Setting* stronger(const Context& context, const Setting* a, const Setting* b, bool agree) {
  if (a == nullptr || b == nullptr) return a != nullptr ? a : b;
  if (a->level != b->level) return a->level > b->level ? a : b;
  if (!agree) context.conflict(*a, *b);
  return a;
}

bool flag(const Setting& setting) {
  return std::get<bool>(setting.value);
}

/// `from` (a boolean) means that `target` is `yes` or `no`; an empty text leaves it alone.
void set_by_flag(const Context& context, const char* from, const char* target, const char* yes, const char* no) {
  const auto* setting = context.find(from);
  if (setting == nullptr) return;
  const std::string wanted = flag(*setting) ? yes : no;
  if (wanted.empty()) return;
  const auto& row = option(target);
  const auto* direct = context.find(target);
  const bool agree = direct == nullptr || direct->value == Value(wanted);
  if (stronger(context, setting, direct, agree) != setting) return;
  row.write(context.parsed.config, wanted);
  context.parsed.given.insert(target);
}

/// quant_type and n_bits name a format together: one of them is enough.
void derive_format(const Context& context) {
  auto& config = context.parsed.config;
  const auto* type = context.find("quant_type");
  const auto* bits = context.find("n_bits");
  const std::int64_t of_type = config.quant_type == QuantType::int8 ? 8 : 4;
  if (bits == nullptr) {
    config.n_bits = of_type;
  } else if (config.n_bits != 16 && config.n_bits != of_type) {
    if (type != nullptr && type->level >= bits->level) return context.conflict(*type, *bits);
    config.quant_type = config.n_bits == 8 ? QuantType::int8 : QuantType::nf4;
  }
}

/// train_type from load_in_4bit, full_fine_tune and (generate, forward, merge) n_bits or quant_type.
void derive_train_type(const Context& context) {
  auto& config = context.parsed.config;
  const auto* type = context.find("train_type");
  const auto* full = context.find("full_fine_tune");
  const auto* four = context.find("load_in_4bit");
  const auto* bits = context.find("n_bits");
  const auto given = type != nullptr ? config.train_type : TrainType::lora;
  if (!is_about_training(context.command) && type == nullptr) {
    const bool quantizes = bits != nullptr ? config.n_bits != 16 : context.find("quant_type") != nullptr;
    config.train_type = quantizes ? TrainType::qlora : TrainType::lora;
    if (!quantizes) config.n_bits = 16;
  }
  if (full != nullptr &&
      stronger(context, full, type, type == nullptr || flag(*full) == (given == TrainType::full)) == full) {
    if (flag(*full)) config.train_type = TrainType::full;
  }
  if (four == nullptr) return;
  if (full != nullptr && flag(*full) && flag(*four)) return context.conflict(*full, *four);
  const bool agree = type == nullptr || flag(*four) == (given == TrainType::qlora);
  if (stronger(context, four, type, agree) != four) return;
  if (flag(*four)) {
    config.train_type = TrainType::qlora;
    if (config.n_bits == 16 && bits == nullptr) config.n_bits = config.quant_type == QuantType::int8 ? 8 : 4;
  } else if (config.train_type == TrainType::qlora) {
    config.train_type = TrainType::lora;
  }
}

/// Hugging Face's max_grad_norm is both the switch and the limit.
void derive_clipping(const Context& context) {
  const auto* limit = context.find("grad_norm");
  if (limit == nullptr || limit->written == "grad_norm" || context.find("apply_gradient_clipping") != nullptr) return;
  context.parsed.config.apply_gradient_clipping = context.parsed.config.grad_norm > 0;
}

/// The warm-up of the strongest level; 10 % if none is given and the schedule isn't constant.
void derive_warmup(const Context& context) {
  auto& config = context.parsed.config;
  const Setting* chosen = nullptr;
  for (const char* name : {"warmup_steps", "warmup_ratio", "warmup_epochs"}) {
    const auto* setting = context.find(name);
    if (setting == nullptr) continue;
    if (chosen != nullptr && chosen->level == setting->level) {
      context.problems.push_back(
          fmt::format("{} and {}: two kinds of warm-up; give one", chosen->source, setting->source));
    }
    if (chosen == nullptr || setting->level > chosen->level) chosen = setting;
  }
  if (chosen != nullptr) {
    for (const char* name : {"warmup_steps", "warmup_ratio", "warmup_epochs"}) {
      if (chosen->option->name != name) option(name).write(config, Value());
    }
    return;
  }
  if (config.lr_scheduler == Scheduler::constant) {
    config.warmup_ratio.reset();
  } else if (!config.warmup_ratio) {
    config.warmup_ratio = 0.1;
  }
}

/// An optimizer other than the preset's has PyTorch's defaults, and no weight decay unless it is adamw.
void derive_optimizer(const Context& context) {
  auto& config = context.parsed.config;
  const auto& given = context.parsed.given;
  if (config.optimizer == preset_defaults(config.preset).optimizer) return;
  if (!given.contains("beta1")) config.beta1 = 0.9;
  if (!given.contains("beta2")) config.beta2 = 0.999;
  if (!given.contains("eps")) config.eps = config.optimizer == OptimizerKind::adadelta ? 1e-6 : 1e-8;
  if (!given.contains("wd") && config.optimizer != OptimizerKind::adamw) config.wd = 0;
}

/// text_column and the like are pairs of column_mapping.
void derive_columns(const Context& context) {
  auto& mapping = context.parsed.config.column_mapping;
  for (const char* column : {"text", "prompt", "completion", "messages"}) {
    const auto* setting = context.find(std::string(column) + "_column");
    if (setting == nullptr) continue;
    const auto& source = std::get<std::string>(setting->value);
    // Peers write their default out: a column of that name is read anyway, where it is there.
    if (source.empty() || source == column) continue;
    mapping.push_back(fmt::format("{}={}", column, source));
    context.parsed.given.insert("column_mapping");
  }
}

}  // namespace

void derive(Command command, const Chosen& chosen, ParsedConfig& parsed, std::vector<std::string>& problems) {
  const Context context{command, chosen, parsed, problems};
  derive_format(context);
  derive_train_type(context);
  set_by_flag(context, "bf16", "precision", "bf16", "");
  set_by_flag(context, "train_on_input", "train_on", "all", "completion");
  const auto* input = context.find("train_on_input");
  const auto* completion = context.find("completion_only_loss");
  if (stronger(context, completion, input, !input || !completion || flag(*input) != flag(*completion)) == completion) {
    set_by_flag(context, "completion_only_loss", "train_on", "completion", "all");
  }
  set_by_flag(context, "use_ddp", "sharding_strategy", "ddp", "");
  derive_columns(context);
  derive_clipping(context);
  derive_warmup(context);
  derive_optimizer(context);
  auto& config = parsed.config;
  if (config.preset == Preset::qlora_pipe_lite && !parsed.given.contains("lora_alpha")) {
    config.lora_alpha = static_cast<double>(config.lora_rank);
  }
  // What is given replaces the preset's way of doing the same.
  if (parsed.given.contains("eval_dataset") && !parsed.given.contains("eval_fraction")) config.eval_fraction = 0;
  if (config.eval_steps > 0 && !parsed.given.contains("evals_per_epoch")) config.evals_per_epoch = 0;
  if (config.max_steps == 0) config.max_steps = -1;
}

}  // namespace lorica::config
