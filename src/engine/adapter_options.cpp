#include "engine/adapter_options.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <set>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "io/hub.hpp"
#include "io/peft_adapter.hpp"
#include "model/architecture.hpp"

namespace lorica::engine {
namespace {

constexpr const char* kOptions[] = {"lora_rank",           "lora_alpha",          "lora_dropout",   "use_rslora",
                                    "lora_target_modules", "layers_to_transform", "modules_to_save"};

void adopt(const io::AdapterConfig& adapter, config::Config& config) {
  config.lora_rank = adapter.rank;
  config.lora_alpha = adapter.alpha;
  config.lora_dropout = adapter.dropout;
  config.use_rslora = adapter.use_rslora;
  config.lora_target_modules =
      adapter.target_regex ? std::vector<std::string>{*adapter.target_regex} : adapter.target_modules;
  config.layers_to_transform = adapter.layers_to_transform.value_or(std::vector<std::int64_t>{});
  config.modules_to_save = adapter.modules_to_save;
}

/// The modules that words such as all and default stand for, in no order.
std::set<std::string> spelled_out(const config::Config& config) {
  const auto& targets = config.lora_target_modules;
  auto names = targets;
  const bool all = targets == std::vector<std::string>{"all"} || targets == std::vector<std::string>{"all-linear"};
  if (all || targets == std::vector<std::string>{"default"}) {
    const auto architecture = model::read_architecture(io::find_model(config.model_name));
    names = all ? model::projection_names(model::describe_blocks(architecture)) : architecture.default_targets;
  }
  return {names.begin(), names.end()};
}

bool same(const std::string& option, const config::Config& asked, const config::Config& adapter) {
  if (option == "lora_target_modules") return spelled_out(asked) == spelled_out(adapter);
  if (option == "modules_to_save") {
    return std::set(asked.modules_to_save.begin(), asked.modules_to_save.end()) ==
           std::set(adapter.modules_to_save.begin(), adapter.modules_to_save.end());
  }
  return config::value_text(asked, option) == config::value_text(adapter, option);
}

}  // namespace

void adopt_adapter_options(config::ParsedConfig& parsed) {
  const auto& asked = parsed.config;
  if (asked.adapter.empty() || asked.train_type == config::TrainType::full) return;
  const auto file = std::filesystem::path(asked.adapter) / io::kAdapterConfigFile;
  if (!std::filesystem::exists(file)) return;
  auto config = asked;
  adopt(io::read_adapter_config(file), config);
  std::vector<std::string> differences;
  for (const std::string option : kOptions) {
    const auto source = parsed.asked.find(option);
    if (source == parsed.asked.end() || same(option, asked, config)) continue;
    differences.push_back(fmt::format("{} {} (the adapter has {})", source->second, config::value_text(asked, option),
                                      config::value_text(config, option)));
  }
  if (!differences.empty()) {
    raise<ConfigError>(
        "training goes on from the adapter in {}, whose own settings hold; these say otherwise: {}. Leave them out, or "
        "start a new adapter without --adapter (on top of this one: `lorica merge` it first).",
        asked.adapter, join(differences, ", "));
  }
  parsed.config = std::move(config);
}

}  // namespace lorica::engine
