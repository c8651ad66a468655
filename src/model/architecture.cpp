// Reads config.json into an Architecture: see architecture.hpp.
#include "model/architecture.hpp"

#include <algorithm>
#include <cctype>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "io/folder_kind.hpp"
#include "io/json.hpp"
#include "model/architecture_config.hpp"
#include "model/config_keys.hpp"
#include "model/families/family.hpp"
#include "model/rope_config.hpp"

namespace lorica::model {
namespace {

// Far above any model, and low enough that no product of sizes below overflows 64 bits.
constexpr int64_t kLargestSize = int64_t{1} << 22;
constexpr int64_t kLargestVocabulary = int64_t{1} << 24;
constexpr int64_t kMostLayers = int64_t{1} << 14;
constexpr int64_t kMostPositions = int64_t{1} << 40;

const std::vector<Family>& families() {
  static const std::vector<Family> table{llama_family(), mistral_family(), qwen2_family(), qwen3_family()};
  return table;
}

const Family* find_family(const std::string& name) {
  const auto found =
      std::find_if(families().begin(), families().end(), [&](const Family& family) { return family.name == name; });
  return found == families().end() ? nullptr : &*found;
}

std::string known_list() {
  return join(known_families(), ", ");
}

/// Letters and digits alone, in lower case: "Qwen-2" is another spelling of "qwen2", "mixtral" none of "mistral".
std::string spelling(const std::string& name) {
  std::string bare;
  for (const unsigned char c : name) {
    if (std::isalnum(c) != 0) bare += static_cast<char>(std::tolower(c));
  }
  return bare;
}

const Family& family_of(const ConfigReader& config) {
  if (!config.has("model_type")) {
    config.fail("model_type", fmt::format("is missing. Known model types: {}", known_list()));
  }
  const auto name = config.text("model_type", "");
  if (const auto* family = find_family(name)) return *family;
  if (config.has("auto_map")) {
    config.fail("model_type",
                fmt::format("is '{}', a model that brings its own Python code (auto_map). Lorica never runs "
                            "code from a model repository. Known model types: {}",
                            name, known_list()));
  }
  const auto known = known_families();
  const auto same =
      std::find_if(known.begin(), known.end(), [&](const auto& family) { return spelling(family) == spelling(name); });
  config.fail("model_type",
              fmt::format("is '{}', which is not supported{}. Known model types: {}", name,
                          same == known.end() ? "" : fmt::format(" (did you mean '{}'?)", *same), known_list()));
}

void read_sizes(const ConfigReader& config, const FamilyDefaults& defaults, Architecture& architecture) {
  auto& a = architecture;
  a.hidden_size = config.required_size("hidden_size", kLargestSize);
  a.intermediate_size = config.required_size("intermediate_size", kLargestSize);
  a.layers = config.required_size("num_hidden_layers", kMostLayers);
  a.heads = config.required_size("num_attention_heads", kLargestSize);
  a.vocabulary = config.required_size("vocab_size", kLargestVocabulary);
  a.max_positions = config.size("max_position_embeddings", defaults.max_positions, kMostPositions);

  // An absent key means the family's default, a null one "as many as heads".
  const bool family_default = defaults.kv_heads > 0 && !config.holds_null("num_key_value_heads");
  a.kv_heads = config.size("num_key_value_heads", family_default ? defaults.kv_heads : a.heads, kLargestSize);
  if (a.heads % a.kv_heads != 0) {
    config.fail(
        "num_key_value_heads",
        fmt::format("is {}{}, but must divide num_attention_heads ({})", a.kv_heads,
                    config.has("num_key_value_heads") ? "" : " (the family's default, as the key is absent)", a.heads));
  }
  if (!config.has("head_dim") && defaults.head_dim == 0 && a.hidden_size % a.heads != 0) {
    config.fail("hidden_size", fmt::format("is {}, which is no multiple of num_attention_heads ({}), and head_dim is "
                                           "not given",
                                           a.hidden_size, a.heads));
  }
  const int64_t head_dim = defaults.head_dim > 0 ? defaults.head_dim : std::max<int64_t>(a.hidden_size / a.heads, 1);
  a.head_dim = config.size("head_dim", head_dim, kLargestSize);
  if (a.head_dim % 2 != 0) {
    config.fail("head_dim", fmt::format("is {}, but rotary embedding needs an even number", a.head_dim));
  }
  if (a.query_size() > kLargestSize) {
    config.fail("head_dim", fmt::format("is {}: times {} heads that is not plausible", a.head_dim, a.heads));
  }
}

void check_activation(const ConfigReader& config) {
  const auto name = config.text("hidden_act", "silu");
  if (name != "silu" && name != "swish") {
    config.fail("hidden_act", fmt::format("is '{}', but only 'silu' is supported for this model type", name));
  }
}

std::string read_dtype(const ConfigReader& config) {
  const char* key = config.has("dtype") ? "dtype" : "torch_dtype";
  auto name = config.text(key, "");
  if (name.starts_with("torch.")) name = name.substr(6);
  if (name == "auto") return "";
  static const std::vector<std::string> known{"", "float32", "bfloat16", "float16", "float64"};
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    config.fail(key, fmt::format("is '{}': expected float32, bfloat16 or float16", name));
  }
  return name;
}

std::vector<int64_t> read_eos(const ConfigReader& config, const std::vector<int64_t>& fallback) {
  const char* key = "eos_token_id";
  if (config.holds_null(key)) return {};
  if (!config.has(key)) return fallback;
  const auto& value = config.at(key);
  const auto items = value.is_array() ? value : nlohmann::json::array({value});
  std::vector<int64_t> ids;
  for (const auto& item : items) {
    if (!item.is_number_integer() || item.get<double>() > static_cast<double>(kLargestVocabulary)) {
      config.fail(key, "must be a token id or a list of token ids");
    }
    const auto id = item.get<int64_t>();
    if (id >= 0) ids.push_back(id);  // −1 stands for none in some exports
  }
  return ids;
}

}  // namespace

Architecture parse_architecture(const nlohmann::json& config_json, const std::string& origin) {
  const ConfigReader config(config_json, origin);
  const auto& family = family_of(config);
  Architecture architecture;
  architecture.family = family.name;
  read_sizes(config, family.defaults, architecture);
  check_activation(config);
  architecture.rms_norm_eps = config.positive_number("rms_norm_eps", 1e-6);
  architecture.initializer_range = config.number("initializer_range", 0.02);
  if (architecture.initializer_range < 0.0) config.fail("initializer_range", "must not be negative");
  architecture.tied_embeddings = config.flag("tie_word_embeddings", false);
  architecture.dtype = read_dtype(config);
  architecture.eos_ids = read_eos(config, family.defaults.eos_ids);
  architecture.rope = read_rope_config(config, architecture.head_dim, architecture.max_positions);
  architecture.sliding_window.assign(static_cast<std::size_t>(architecture.layers), 0);
  family.read(config, architecture);
  architecture.raw = config_json;
  account_for_keys(config, architecture);
  return architecture;
}

Architecture read_architecture(const std::filesystem::path& model_folder) {
  const auto path = model_folder / "config.json";
  if (!std::filesystem::exists(path)) io::refuse_folder(model_folder, io::FolderKind::model);
  return parse_architecture(io::read_json(path), path.string());
}

std::vector<std::string> known_families() {
  std::vector<std::string> names;
  for (const auto& family : families()) names.push_back(family.name);
  return names;
}

std::vector<std::string> default_target_modules(const std::string& family) {
  const auto* found = find_family(family);
  if (found == nullptr) raise<ModelError>("no model family '{}'. Known: {}", family, known_list());
  return found->default_targets;
}

}  // namespace lorica::model
