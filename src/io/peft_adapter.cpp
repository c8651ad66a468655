// Which modules a PEFT config adapts, the names of an adapter's tensors, and an adapter folder opened.
#include "io/peft_adapter.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "io/folder_kind.hpp"
#include "io/regex.hpp"

namespace fs = std::filesystem;

namespace lorica::io {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";

bool is_path_or_suffix(const std::string& module, const std::string& name) {
  return module == name || module.ends_with("." + name);
}

/// Whether `name` (one or more dotted names) occurs in `module` at whole names.
bool holds_names(const std::string& module, const std::string& name) {
  return ("." + module + ".").find("." + name + ".") != std::string::npos;
}

std::vector<std::pair<std::string, Regex>> compile_ends(const std::vector<std::string>& patterns,
                                                        const std::string& source) {
  std::vector<std::pair<std::string, Regex>> compiled;
  for (const auto& pattern : patterns) compiled.emplace_back(pattern, Regex("(.*\\.)?(" + pattern + ")$", source));
  return compiled;
}

template <class Map>
std::vector<std::string> keys_of(const Map& map) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : map) keys.push_back(key);
  return keys;
}

template <class Map>
typename Map::mapped_type first_match(const std::vector<std::pair<std::string, Regex>>& patterns, const Map& values,
                                      const std::string& module, typename Map::mapped_type fallback) {
  for (const auto& [pattern, regex] : patterns) {
    if (regex.match(module)) return values.at(pattern);
  }
  return fallback;
}

}  // namespace

struct AdapterMatcher::State {
  AdapterConfig config;
  std::optional<Regex> target, exclude;
  std::vector<Regex> layers;
  std::vector<std::pair<std::string, Regex>> ranks, alphas;

  bool is_excluded(const std::string& module) const {
    if (exclude && exclude->full_match(module)) return true;
    return std::any_of(config.exclude_modules.begin(), config.exclude_modules.end(),
                       [&](const auto& name) { return is_path_or_suffix(module, name); });
  }

  bool in_layers(const std::string& module) const {
    if (!config.layers_to_transform) return true;
    for (const auto& pattern : layers) {
      const auto index = pattern.match_group(module, "idx");
      if (index.empty()) continue;
      if (index.size() > 9) return false;
      const auto& wanted = *config.layers_to_transform;
      return std::find(wanted.begin(), wanted.end(), std::stol(index)) != wanted.end();
    }
    return false;
  }
};

AdapterMatcher::AdapterMatcher(const AdapterConfig& config, const std::string& source)
    : state_(std::make_unique<State>()) {
  state_->config = config;
  if (config.target_regex) state_->target.emplace(*config.target_regex, source + ": target_modules");
  if (config.exclude_regex) state_->exclude.emplace(*config.exclude_regex, source + ": exclude_modules");
  // Lazy, so that the layer's number is taken and not that of an expert inside it.
  if (config.layers_pattern.empty()) state_->layers.emplace_back(R"(.*?\.[^.]*\.(?P<idx>\d+)\.)", source);
  for (const auto& pattern : config.layers_pattern) {
    state_->layers.emplace_back("(?:^|.*?\\.)" + pattern + "\\.(?P<idx>\\d+)\\.", source + ": layers_pattern");
  }
  state_->ranks = compile_ends(keys_of(config.rank_pattern), source + ": rank_pattern");
  state_->alphas = compile_ends(keys_of(config.alpha_pattern), source + ": alpha_pattern");
}

AdapterMatcher::~AdapterMatcher() = default;
AdapterMatcher::AdapterMatcher(AdapterMatcher&&) noexcept = default;

bool AdapterMatcher::is_saved_whole(const std::string& module) const {
  const auto& names = state_->config.modules_to_save;
  return std::any_of(names.begin(), names.end(), [&](const auto& name) { return holds_names(module, name); });
}

bool AdapterMatcher::is_target(const std::string& module) const {
  if (state_->is_excluded(module) || is_saved_whole(module)) return false;
  if (state_->target) return state_->target->full_match(module);
  const auto& names = state_->config.target_modules;
  // A full path is its own choice of layer: PEFT doesn't filter it by layers_to_transform.
  if (std::find(names.begin(), names.end(), module) != names.end()) return true;
  return std::any_of(names.begin(), names.end(), [&](const auto& name) { return module.ends_with("." + name); }) &&
         state_->in_layers(module);
}

std::int64_t AdapterMatcher::rank(const std::string& module) const {
  return first_match(state_->ranks, state_->config.rank_pattern, module, state_->config.rank);
}

double AdapterMatcher::alpha(const std::string& module) const {
  return first_match(state_->alphas, state_->config.alpha_pattern, module, state_->config.alpha);
}

double AdapterMatcher::scale(const std::string& module) const {
  const auto r = static_cast<double>(rank(module));
  return alpha(module) / (state_->config.use_rslora ? std::sqrt(r) : r);
}

std::vector<std::string> AdapterMatcher::unmatched(const std::vector<std::string>& modules) const {
  std::vector<std::string> result;
  const auto check = [&](const std::string& entry, const auto& matches) {
    if (std::none_of(modules.begin(), modules.end(), matches)) result.push_back(entry);
  };
  const auto& config = state_->config;
  if (state_->target)
    check(*config.target_regex, [&](const auto& module) { return state_->target->full_match(module); });
  for (const auto& name : config.target_modules) {
    check(name, [&](const auto& module) { return is_path_or_suffix(module, name); });
  }
  for (const auto& name : config.modules_to_save) {
    check(name, [&](const auto& module) { return holds_names(module, name); });
  }
  return result;
}

std::string module_of(const std::string& parameter) {
  return parameter.substr(0, parameter.rfind('.'));
}

std::string lora_a_key(const std::string& module) {
  return std::string(kPrefix) + module + ".lora_A.weight";
}
std::string lora_b_key(const std::string& module) {
  return std::string(kPrefix) + module + ".lora_B.weight";
}
std::string lora_magnitude_key(const std::string& module) {
  return std::string(kPrefix) + module + ".lora_magnitude_vector";
}
std::string saved_module_key(const std::string& module, const std::string& parameter) {
  return std::string(kPrefix) + module + "." + parameter;
}

AdapterTensorName parse_adapter_key(const std::string& key, const std::string& source) {
  if (!key.starts_with(kPrefix)) {
    raise<ModelError>("{}: tensor \"{}\" doesn't begin with \"{}\": not a PEFT adapter of a language model", source,
                      key, kPrefix);
  }
  const auto parts = split(std::string_view(key).substr(kPrefix.size()), '.');
  const auto join_first = [&](std::size_t count) {
    return join({parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(count)}, ".");
  };
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const auto after = parts.size() - i - 1;
    const bool ends_in_weight = parts.back() == "weight";
    if (parts[i] == "lora_A" || parts[i] == "lora_B") {
      // ".weight", or ".<adapter's name>.weight".
      if (!ends_in_weight || after < 1 || after > 2) break;
      return {join_first(i), parts[i] == "lora_A" ? AdapterTensorKind::lora_a : AdapterTensorKind::lora_b, ""};
    }
    if (parts[i] == "lora_magnitude_vector") {
      if (after > 2 || (after == 2 && !ends_in_weight)) break;
      return {join_first(i), AdapterTensorKind::lora_magnitude, ""};
    }
    if (parts[i] == "modules_to_save") {
      if (after < 2) break;
      // Between the adapter's name and the parameter there may be names inside the saved module.
      auto module = join_first(i);
      for (std::size_t j = i + 2; j + 1 < parts.size(); ++j) module += "." + parts[j];
      return {module, AdapterTensorKind::saved_module, parts.back()};
    }
    if (parts[i].starts_with("lora_embedding_")) {
      raise<ModelError>(
          "{}: tensor \"{}\": LoRA pairs on embeddings are not supported (train them whole: modules_to_save)", source,
          key);
    }
    if (parts[i].starts_with("lora_") || parts[i] == "original_module" || parts[i] == "base_layer") break;
    if (i + 1 == parts.size() && (parts[i] == "weight" || parts[i] == "bias")) {
      return {join_first(i), AdapterTensorKind::saved_module, parts[i]};
    }
  }
  raise<ModelError>("{}: tensor \"{}\" has a name that Lorica doesn't know in a LoRA adapter", source, key);
}

namespace {

fs::path weights_path(const fs::path& folder) {
  if (fs::exists(folder / kAdapterWeightsFile)) return folder / kAdapterWeightsFile;
  if (fs::exists(folder / "adapter_model.bin")) {
    raise<ModelError>(
        "{}: holds only adapter_model.bin, a pickle. A pickle can run any code, so Lorica doesn't execute it. Load it "
        "with "
        "PEFT and save it again (save_pretrained writes {}).",
        folder.string(), kAdapterWeightsFile);
  }
  raise<ModelError>("{}: holds no {}", folder.string(), kAdapterWeightsFile);
}

fs::path config_path(const fs::path& folder) {
  if (!fs::is_directory(folder)) raise<FileError>("{}: no such adapter folder", folder.string());
  if (!fs::exists(folder / kAdapterConfigFile)) refuse_folder(folder, FolderKind::adapter);
  return folder / kAdapterConfigFile;
}

void check_pair(const std::string& module, const AdapterFiles::Lora& pair, const AdapterMatcher& matcher, bool use_dora,
                const std::string& source) {
  if (!pair.a || !pair.b) {
    raise<ModelError>("{}: module {} has half a pair: {} is missing", source, module, pair.a ? "lora_B" : "lora_A");
  }
  if (!matcher.is_target(module)) {
    raise<ModelError>("{}: holds a LoRA pair for module {}, which target_modules of its config doesn't name", source,
                      module);
  }
  if (pair.a->shape.size() != 2 || pair.b->shape.size() != 2 || pair.b->shape[1] != pair.a->shape[0]) {
    raise<ModelError>("{}: module {}: lora_A is [{}] and lora_B is [{}], which is no pair [r, in] and [out, r]", source,
                      module, fmt::join(pair.a->shape, ", "), fmt::join(pair.b->shape, ", "));
  }
  if (pair.a->shape[0] != matcher.rank(module)) {
    raise<ModelError>("{}: module {} has rank {}, but the config says {}", source, module, pair.a->shape[0],
                      matcher.rank(module));
  }
  if (use_dora != (pair.magnitude != nullptr)) {
    raise<ModelError>("{}: module {} has {}magnitude vector, but use_dora is {}", source, module,
                      pair.magnitude ? "a " : "no ", use_dora);
  }
}

}  // namespace

AdapterFiles::AdapterFiles(const fs::path& folder, bool allow_dora)
    : folder_(folder),
      config_(read_adapter_config(config_path(folder), allow_dora)),
      matcher_(config_, config_path(folder).string()),
      file_(weights_path(folder)) {
  const auto source = file_.path().string();
  for (const auto& [key, tensor] : file_.tensors()) {
    const auto name = parse_adapter_key(key, source);
    const TensorView** slot = nullptr;
    switch (name.kind) {
      case AdapterTensorKind::lora_a:
        slot = &pairs_[name.module].a;
        break;
      case AdapterTensorKind::lora_b:
        slot = &pairs_[name.module].b;
        break;
      case AdapterTensorKind::lora_magnitude:
        slot = &pairs_[name.module].magnitude;
        break;
      case AdapterTensorKind::saved_module:
        slot = &saved_[name.module + "." + name.parameter];
        break;
    }
    if (*slot) raise<ModelError>("{}: tensors \"{}\" and \"{}\" are the same one", source, (*slot)->name, key);
    *slot = &tensor;
  }
  if (pairs_.empty() && saved_.empty()) {
    raise<ModelError>("{}: the adapter is empty: it holds no tensors. Training or saving it went wrong.", source);
  }
  for (const auto& [module, pair] : pairs_) check_pair(module, pair, matcher_, config_.use_dora, source);
}

}  // namespace lorica::io
