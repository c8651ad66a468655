#include "engine/torch/adapter_plan.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "adapters/lora.hpp"
#include "base/error.hpp"
#include "base/strings.hpp"
#include "config/value.hpp"

namespace lorica::engine {
namespace {

bool is_plain_name(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-'; });
}

/// PEFT's fields from our options.
io::AdapterConfig config_from_options(const config::Config& config, const model::Architecture& architecture,
                                      const std::vector<model::BlockSpec>& blocks) {
  io::AdapterConfig adapter;
  adapter.base_model_name_or_path = config.model_name;
  adapter.rank = config.lora_rank;
  adapter.alpha = config.lora_alpha;
  adapter.dropout = config.lora_dropout;
  adapter.use_rslora = config.use_rslora;
  adapter.modules_to_save = config.modules_to_save;
  if (!config.layers_to_transform.empty()) adapter.layers_to_transform = config.layers_to_transform;
  const auto& wanted = config.lora_target_modules;
  if (wanted.size() == 1 && (wanted[0] == "all" || wanted[0] == "all-linear")) {
    adapter.target_modules = model::projection_names(blocks);
  } else if (wanted.size() == 1 && wanted[0] == "default") {
    adapter.target_modules = architecture.default_targets;
  } else if (wanted.size() == 1 && !is_plain_name(wanted[0])) {
    adapter.target_regex = wanted[0];
    if (adapter.layers_to_transform) {
      throw ConfigError(
          "--layers_to_transform needs --lora_target_modules as a list of names, not as a regular expression "
          "(PEFT has the same rule). Name the layers in the expression instead.");
    }
  } else {
    adapter.target_modules = wanted;
  }
  return adapter;
}

/// `source` is adapter_config.json, or "" for options.
void check_layers(const io::AdapterConfig& config, const std::string& source, const model::Architecture& architecture) {
  std::vector<std::int64_t> missing;
  for (const auto layer : config.layers_to_transform.value_or(std::vector<std::int64_t>{})) {
    if (layer < 0 || layer >= architecture.layer_count()) missing.push_back(layer);
  }
  if (missing.empty()) return;
  raise<ConfigError>("{} {}: the model has no layer {}; its layers are 0 to {}",
                     source.empty() ? "--layers_to_transform" : source + ": layers_to_transform",
                     config::layers_text(*config.layers_to_transform), config::layers_text(missing),
                     architecture.layer_count() - 1);
}

/// Every pattern must match something: a name that is typed wrongly beside others that match would train less, in
/// silence.
void check_matches(const io::AdapterMatcher& matcher, const std::vector<std::string>& modules,
                   const std::string& source) {
  std::vector<std::string> problems;
  std::set<std::string> names;
  for (const auto& module : modules) names.insert(module.substr(module.rfind('.') + 1));
  for (const auto& pattern : matcher.unmatched(modules)) {
    const auto near = nearest_name(pattern, {names.begin(), names.end()});
    problems.push_back(fmt::format("'{}' matches no module of this model{}", pattern,
                                   near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near)));
  }
  if (!problems.empty()) {
    raise<ConfigError>("{}: {}. Its modules are: {}.", source, join(problems, "; "),
                       join({names.begin(), names.end()}, ", "));
  }
}

using Shape = std::vector<std::int64_t>;

[[noreturn]] void raise_misfit(const AdapterPlan& plan, const std::string& name, const Shape& got,
                               const Shape& wanted) {
  const bool resized = got.size() == 2 && wanted.size() == 2 && got[1] == wanted[1];
  raise<ModelError>(
      "{}: its tensor for '{}' is [{}], but this base model has [{}]: {}",
      (plan.files->folder() / io::kAdapterWeightsFile).string(), name, fmt::join(got, ", "), fmt::join(wanted, ", "),
      resized ? fmt::format("the vocabulary was resized before the adapter was trained. Resize the base model's first "
                            "(transformers: model.resize_token_embeddings({}), then save_pretrained), and give that.",
                            got[0])
              : "the adapter belongs to another base model");
}

/// Every pair of the files has its place, and every place its pair, in the right shapes.
void check_pairs(const AdapterPlan& plan) {
  const auto file = (plan.files->folder() / io::kAdapterWeightsFile).string();
  for (const auto& [module, pair] : plan.files->pairs()) {
    const auto place = plan.targets.find(module);
    if (place == plan.targets.end()) {
      raise<ModelError>("{}: adapts '{}', which this base model does not have: the adapter belongs to another one",
                        file, module);
    }
    const auto& target = place->second;
    const Shape a{target.rank, target.in}, b{target.out, target.rank};
    if (pair.a->shape != a) raise_misfit(plan, module + ".lora_A.weight", pair.a->shape, a);
    if (pair.b->shape != b) raise_misfit(plan, module + ".lora_B.weight", pair.b->shape, b);
  }
  for (const auto& [module, target] : plan.targets) {
    if (plan.files->pairs().contains(module)) continue;
    raise<ModelError>("{}: adapter_config.json names {}, but {} has no tensors for it", plan.files->folder().string(),
                      module, io::kAdapterWeightsFile);
  }
}

/// Fills plan.brought from the whole tensors of the files.
void place_whole_tensors(const std::vector<model::BlockSpec>& blocks, AdapterPlan& plan) {
  const auto file = (plan.files->folder() / io::kAdapterWeightsFile).string();
  std::map<std::string, const model::ParameterSpec*> places;
  for (const auto& block : blocks) {
    for (const auto& parameter : block.parameters) {
      places.emplace(parameter.checkpoint_name, &parameter);
      // PEFT saves both names of a tied weight.
      if (parameter.role == model::Role::head) places.emplace("lm_head.weight", &parameter);
    }
  }
  for (const auto& [name, view] : plan.files->saved()) {
    const auto place = places.find(name);
    if (place == places.end()) {
      raise<ModelError>("{}: holds '{}', which this base model does not have: the adapter belongs to another one", file,
                        name);
    }
    const auto& spec = *place->second;
    if (view->shape != spec.shape) raise_misfit(plan, name, view->shape, spec.shape);
    const auto [other, added] = plan.brought.emplace(spec.checkpoint_name, view);
    const bool same = added || (other->second->dtype == view->dtype &&
                                std::memcmp(other->second->data, view->data, view->bytes) == 0);
    if (!same) {
      raise<ModelError>(
          "{}: '{}' and '{}' differ, but this base model has one weight for both (tie_word_embeddings). Untie the base "
          "model first.",
          file, spec.checkpoint_name, name);
    }
  }
  for (const auto& [name, spec] : places) {
    const auto module = io::module_of(name);
    const bool whole = std::find(plan.saved_whole.begin(), plan.saved_whole.end(), module) != plan.saved_whole.end();
    if (whole && !plan.brought.contains(name)) {
      raise<ModelError>("{}: adapter_config.json lists {} in modules_to_save, but {} lacks its tensor",
                        plan.files->folder().string(), name, io::kAdapterWeightsFile);
    }
  }
}

}  // namespace

std::optional<AdapterPlan> plan_adapter(const config::Config& config, const model::Architecture& architecture,
                                        const std::vector<model::BlockSpec>& blocks, bool trains) {
  const bool given = !config.adapter.empty();
  if (!given && (!trains || config.train_type == config::TrainType::full)) return std::nullopt;
  if (given && trains && config.train_type == config::TrainType::full) {
    throw ConfigError(
        "--adapter with --train_type full: merge the adapter first (lorica merge), then train the result");
  }
  AdapterPlan plan;
  std::string source = "--lora_target_modules";
  if (given) {
    plan.files = std::make_shared<io::AdapterFiles>(config.adapter);
    plan.config = plan.files->config();
    source = (std::filesystem::path(config.adapter) / io::kAdapterConfigFile).string();
  } else {
    plan.config = config_from_options(config, architecture, blocks);
  }
  plan.config.inference_mode = true;
  check_layers(plan.config, given ? source : "", architecture);
  const io::AdapterMatcher matcher(plan.config, source);
  std::vector<std::string> modules;
  for (const auto& block : blocks) {
    for (const auto& parameter : block.parameters) {
      if (parameter.role == model::Role::bias) continue;
      const auto module = parameter.role == model::Role::head ? "lm_head" : io::module_of(parameter.checkpoint_name);
      modules.push_back(module);
      if (matcher.is_saved_whole(module)) {
        if (architecture.tied_embeddings &&
            (parameter.role == model::Role::embedding || parameter.role == model::Role::head)) {
          raise<ConfigError>(
              "modules_to_save: '{}' shares its weight with the {} of this model (tie_word_embeddings), and "
              "training one copy would silently untie them. Leave it out, or untie the base model first.",
              module, parameter.role == model::Role::head ? "token embedding" : "output head");
        }
        plan.saved_whole.push_back(module);
      } else if (matcher.is_target(module)) {
        if (parameter.role != model::Role::linear) {
          raise<ConfigError>("{}: '{}' is no projection of a decoder layer. Train it whole with --modules_to_save.",
                             source, module);
        }
        plan.targets[module] = {module, matcher.rank(module), matcher.scale(module) * config.scale, parameter.shape[1],
                                parameter.shape[0]};
      }
    }
  }
  check_matches(matcher, modules, source);
  if (plan.files) {
    check_pairs(plan);
    place_whole_tensors(blocks, plan);
  }
  if (plan.targets.empty()) raise<ConfigError>("{}: no module is left to adapt", source);
  return plan;
}

}  // namespace lorica::engine
