#include "config/accelerate_file.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "base/files.hpp"
#include "base/strings.hpp"
#include "config/value.hpp"

namespace lorica::config {
namespace {

constexpr std::size_t kLargestFile = 1 << 20;
constexpr const char* kParallel = "parallelism_config_";  // begins every key of that section

/// A key of the file with its value as text: "" for null, "…" for lists and tables that aren't empty.
struct Entry {
  std::string key;   ///< fsdp_config's begin with "fsdp_", parallelism_config's without a prefix
  std::string text;  ///< as written
  std::string word;  ///< in lower case, "" for null
  int line = 0;
};
using Section = std::map<std::string, Entry>;

std::string text_of(const YAML::Node& node) {
  if (node.IsNull()) return "";
  if (node.IsScalar()) return node.Scalar();
  return node.size() == 0 ? "" : "…";
}

class Reader {
 public:
  Reader(Command command, const std::filesystem::path& path, Settings& settings)
      : command_(command), path_(path), settings_(settings) {}

  void read(const YAML::Node& root) {
    top_ = section(root, "");
    const auto distributed = word("distributed_type", "no");
    fsdp_in_use_ = distributed == "fsdp" || word("use_fsdp") == "true";
    read_fsdp_section(root["fsdp_config"]);
    if (root["parallelism_config"]) parallel_ = section(root["parallelism_config"], "");
    for (const auto& [key, entry] : top_) read_top(entry);
    for (const auto& [key, entry] : fsdp_) {
      if (fsdp_in_use_) {
        read_fsdp(entry);
      } else {
        quiet_.push_back(key + " (distributed_type isn't FSDP)");
      }
    }
    for (const auto& [key, entry] : parallel_) read_parallel(entry);
    set_sharding(distributed);
    if (!quiet_.empty()) {
      settings_.notes.push_back(fmt::format("{}: nothing to set for {}", path_.string(), join(quiet_, ", ")));
    }
  }

 private:
  // ---- the file's tables ----

  Section section(const YAML::Node& node, const std::string& prefix) {
    Section entries;
    if (node.IsNull()) return entries;
    if (!node.IsMap()) {
      settings_.problems.push_back(
          fmt::format("{}:{}: expected keys with values", path_.string(), node.Mark().line + 1));
      return entries;
    }
    for (const auto& pair : node) {
      Entry entry;
      entry.key = text_of(pair.first);
      if (!prefix.empty() && !entry.key.starts_with(prefix)) entry.key = prefix + entry.key;
      if (entry.key.starts_with(kParallel)) entry.key.erase(0, std::string_view(kParallel).size());
      entry.text = text_of(pair.second);
      entry.word = to_lower(entry.text);
      if (entry.word == "null" || entry.word == "~" || entry.word == "none") entry.word.clear();
      entry.line = pair.first.Mark().line + 1;
      if (entries.contains(entry.key)) problem(entry, "given twice");
      entries[entry.key] = entry;
    }
    return entries;
  }

  void read_fsdp_section(const YAML::Node& node) {
    if (node) fsdp_ = section(node, "fsdp_");
    // `accelerate launch` takes the same names as arguments, and some write them beside distributed_type.
    for (auto entry = top_.begin(); entry != top_.end();) {
      const bool moves = entry->first.starts_with("fsdp_") && entry->first != "fsdp_config";
      if (moves) fsdp_.insert(*entry);
      entry = moves ? top_.erase(entry) : std::next(entry);
    }
    const auto version = fsdp_.find("fsdp_version");
    version_ = version != fsdp_.end() && version->second.word == "2" ? 2 : 1;
  }

  std::string word(const std::string& key, const std::string& otherwise = "") const {
    const auto found = top_.find(key);
    return found == top_.end() || found->second.word.empty() ? otherwise : found->second.word;
  }

  // ---- what becomes of a key ----

  std::string source(const Entry& entry) const {
    return fmt::format("{}:{}: {}", path_.string(), entry.line, entry.key);
  }
  void problem(const Entry& entry, const std::string& what) {
    settings_.problems.push_back(fmt::format("{} {}: {}", source(entry), entry.text, what));
  }
  void quiet(const Entry& entry) { quiet_.push_back(entry.key); }

  /// Our `name` gets the value, unless the command line or the TOML file sets it (or one of `others`, which speak of
  /// the same thing).
  void set(const Entry& entry, const std::string& name, const std::string& value,
           const std::vector<std::string>& others = {}) {
    const auto speaks_of_it = [&](const Setting& setting) {
      return setting.level != Level::accelerate &&
             (setting.option->name == name ||
              std::find(others.begin(), others.end(), setting.option->name) != others.end());
    };
    const auto given = std::find_if(settings_.all.begin(), settings_.all.end(), speaks_of_it);
    if (given != settings_.all.end()) {
      settings_.notes.push_back(fmt::format("{} {}: {} counts", source(entry), entry.text, given->source));
      return;
    }
    const auto* row = find_option(name, command_);
    if (row == nullptr) return quiet(entry);
    try {
      settings_.all.push_back({row, name, parse_value(*row, value), source(entry), Level::accelerate});
      settings_.notes.push_back(fmt::format("{} {}: {} {}", source(entry), entry.text, name, value));
    } catch (const BadValue& error) {
      settings_.tried.insert(name);
      problem(entry, fmt::format("becomes {}, which doesn't take it: {}", name, error.what()));
    }
  }

  std::optional<bool> flag(const Entry& entry) {
    const auto value = entry.word.empty() ? std::optional(false) : parse_bool(entry.word);
    if (!value) problem(entry, "expected true or false");
    return value;
  }
  void set_flag(const Entry& entry, const std::string& name, const std::vector<std::string>& others = {}) {
    if (const auto value = flag(entry)) set(entry, name, *value ? "true" : "false", others);
  }
  /// A value other than these (or none at all) can't be honoured.
  void only(const Entry& entry, const std::vector<std::string>& harmless, const std::string& otherwise) {
    const bool fits = entry.word.empty() || std::find(harmless.begin(), harmless.end(), entry.word) != harmless.end();
    fits ? quiet(entry) : problem(entry, otherwise);
  }
  void unknown(const Entry& entry, const std::vector<std::string>& known) {
    const auto near = nearest_name(entry.key, known);
    settings_.problems.push_back(fmt::format("{}: not a key of Accelerate's that Lorica knows{}", source(entry),
                                             near.empty() ? "" : fmt::format(" (did you mean {}?)", near)));
  }

  // ---- the keys ----

  using Rule = std::function<void(Reader&, const Entry&)>;
  using Rules = std::map<std::string, Rule>;
  static const Rules& top_rules();
  static const Rules& fsdp_rules();
  static const Rules& parallel_rules();

  void apply(const Rules& rules, const Entry& entry) {
    const auto rule = rules.find(entry.key);
    if (rule != rules.end()) return rule->second(*this, entry);
    std::vector<std::string> known;
    for (const auto& [name, unused] : rules) known.push_back(name);
    unknown(entry, known);
  }
  void read_top(const Entry& entry) { apply(top_rules(), entry); }
  void read_fsdp(const Entry& entry) { apply(fsdp_rules(), entry); }
  void read_parallel(const Entry& entry) { apply(parallel_rules(), entry); }

  void distributed_type(const Entry& entry) {
    static const std::vector<std::string> known{"no", "false", "multi_cpu", "multi_gpu", "fsdp"};
    if (std::find(known.begin(), known.end(), entry.word) == known.end()) {
      return problem(entry, "Lorica trains on CPU and CUDA processes: NO, MULTI_CPU, MULTI_GPU or FSDP");
    }
    if (entry.word == "multi_cpu") return set(entry, "backend", "cpu");
    quiet(entry);
  }

  void mixed_precision(const Entry& entry) {
    if (entry.word == "bf16") return set(entry, "precision", "bf16", {"bf16"});
    if (entry.word == "no" || entry.word == "false") return set(entry, "precision", "fp32", {"bf16"});
    only(entry, {}, "Lorica trains in bf16 or without mixed precision (no)");
  }

  void machines(const Entry& entry) {
    if (entry.word.empty() || entry.word == "1") return quiet(entry);
    settings_.notes.push_back(
        fmt::format("{} {}: start Lorica on each machine with torchrun, SLURM or Open MPI, which tell each process its "
                    "place; alone it would start all processes on this machine",
                    source(entry), entry.text));
  }

  void sharding_strategy(const Entry& entry) {
    if (version_ == 2 && entry.key == "fsdp_sharding_strategy") {
      quiet_.push_back("fsdp_sharding_strategy (version 2 has fsdp_reshard_after_forward for it)");
      return;
    }
    // Version 1 keeps a strategy under either name; a number is that of PyTorch's ShardingStrategy.
    static const std::vector<std::pair<std::string, std::string>> strategies{
        {"full_shard", "full_shard"},
        {"shard_grad_op", "shard_grad_op"},
        {"no_shard", "ddp"},
        {"hybrid_shard", "hybrid_full_shard"},
        {"hybrid_shard_zero2", "hybrid_shard_grad_op"}};
    if (version_ == 2) {
      if (const auto again = flag(entry)) sharding_ = {entry, *again ? "full_shard" : "shard_grad_op"};
      return;
    }
    const bool weaker = entry.key == "fsdp_reshard_after_forward" && fsdp_.contains("fsdp_sharding_strategy");
    if (weaker) return quiet(entry);
    for (std::size_t i = 0; i < strategies.size(); ++i) {
      const auto& [name, ours] = strategies[i];
      if (entry.word != name && entry.word != fmt::format("{}", i + 1)) continue;
      sharding_ = {entry, ours};
      return;
    }
    problem(entry,
            "expected FULL_SHARD, SHARD_GRAD_OP, NO_SHARD, HYBRID_SHARD, HYBRID_SHARD_ZERO2 or its number, 1 "
            "to 5");
  }

  /// The strategy depends on several keys: FSDP's own, copies asked for by parallelism_config, and without FSDP none.
  void set_sharding(const std::string& distributed) {
    if (distributed == "multi_gpu" || distributed == "multi_cpu") {
      if (!fsdp_in_use_) return set(top_.at("distributed_type"), "sharding_strategy", "ddp", {"use_ddp"});
    }
    if (!fsdp_in_use_) return;
    auto [entry, strategy] = sharding_.value_or(
        std::pair(top_.contains("distributed_type") ? top_.at("distributed_type") : top_.at("use_fsdp"),
                  std::string("full_shard")));
    if (copies_ > 1 && !strategy.starts_with("hybrid_")) {
      strategy = shards_ == 1 ? "ddp" : "hybrid_" + strategy;
    }
    set(entry, "sharding_strategy", strategy, {"use_ddp"});
    const auto number = [&](const char* key) {
      const auto text = word(key, "1");
      return std::all_of(text.begin(), text.end(), ::isdigit) && text.size() < 9 ? std::stoll(text) : 1;
    };
    const auto nodes = number("num_machines"), processes = number("num_processes");
    if (!strategy.starts_with("hybrid_")) return;
    if (copies_ > 1) {
      set(parallel_.at("dp_shard_size"), "hybrid_shard_size", fmt::format("{}", shards_));
    } else if (nodes > 1 && processes % nodes == 0) {
      set(top_.at("num_machines"), "hybrid_shard_size", fmt::format("{}", processes / nodes));
    }
  }

  void prefetch(const Entry& entry) {
    if (entry.word == "1" || entry.word == "backward_pre") return set(entry, "prefetch_blocks", "1");
    if (entry.word == "2" || entry.word == "backward_post" || entry.word == "no_prefetch" || entry.word.empty()) {
      return set(entry, "prefetch_blocks", "0");
    }
    problem(entry, "expected BACKWARD_PRE, BACKWARD_POST or NO_PREFETCH");
  }

  void size_of_copies(const Entry& entry, std::int64_t& into) {
    const bool whole = !entry.word.empty() && std::all_of(entry.word.begin(), entry.word.end(), ::isdigit);
    if (!whole || entry.word.size() > 6) return problem(entry, "expected a whole number");
    into = std::stoll(entry.word);
    quiet(entry);
  }

  Command command_;
  const std::filesystem::path& path_;
  Settings& settings_;
  Section top_, fsdp_, parallel_;
  int version_ = 1;
  bool fsdp_in_use_ = false;
  std::int64_t copies_ = 1, shards_ = 1;
  std::optional<std::pair<Entry, std::string>> sharding_;
  std::vector<std::string> quiet_;
};

// Rules by key; in words where a value can't be honoured.
const Reader::Rules& Reader::top_rules() {
  const auto to = [](const char* name) -> Rule {
    return [name](Reader& r, const Entry& e) { e.word.empty() ? r.quiet(e) : r.set(e, name, e.text); };
  };
  const auto only = [](std::vector<std::string> harmless, const char* otherwise) -> Rule {
    return [=](Reader& r, const Entry& e) { r.only(e, harmless, otherwise); };
  };
  const Rule nothing = [](Reader& r, const Entry& e) { r.quiet(e); };
  const Rule not_tpu = only({"false", "no"}, "Lorica doesn't run on TPUs");
  const Rule not_deepspeed =
      only({}, "Lorica has no DeepSpeed; sharding_strategy full_shard does what its stage 3 does");
  static const Rules rules{
      {"compute_environment", only({"local_machine"}, "Lorica doesn't start cloud jobs; use LOCAL_MACHINE")},
      {"distributed_type", [](Reader& r, const Entry& e) { r.distributed_type(e); }},
      {"mixed_precision", [](Reader& r, const Entry& e) { r.mixed_precision(e); }},
      {"fp16", only({"false", "no"}, "Lorica trains in bf16, or without mixed precision")},
      {"num_processes", to("world_size")},
      {"num_machines", [](Reader& r, const Entry& e) { r.machines(e); }},
      {"main_process_ip", to("master_addr")},
      {"main_process_port", to("master_port")},
      {"gradient_accumulation_steps", to("gradient_accumulation_steps")},
      {"use_cpu",
       [](Reader& r, const Entry& e) {
         if (const auto on = r.flag(e)) *on ? r.set(e, "backend", "cpu") : r.quiet(e);
       }},
      {"gpu_ids",
       [](Reader& r, const Entry& e) {
         if (r.word("use_cpu") == "true") return r.quiet(e);
         r.only(e, {"all"}, "set CUDA_VISIBLE_DEVICES to these devices instead, and leave the key out");
       }},
      {"machine_rank", nothing},
      {"rdzv_backend", nothing},
      {"same_network", nothing},
      {"main_training_function", nothing},
      {"enable_cpu_affinity", nothing},
      {"debug", nothing},
      {"mpirun_config", nothing},
      {"use_fsdp", nothing},
      {"fsdp_config", nothing},
      {"parallelism_config", nothing},
      {"use_parallelism_config", nothing},
      {"dynamo_config", nothing},
      {"dynamo_backend", nothing},
      {"fp8_config", only({}, "Lorica doesn't train in fp8")},
      {"deepspeed_config", not_deepspeed},
      {"use_deepspeed", only({"false", "no"}, "Lorica has no DeepSpeed")},
      {"megatron_lm_config", only({}, "Lorica has no Megatron-LM; pipeline_stages splits a model by layers")},
      {"downcast_bf16", not_tpu},
      {"tpu_name", not_tpu},
      {"tpu_zone", not_tpu},
      {"tpu_env", not_tpu},
      {"tpu_vm", not_tpu},
      {"tpu_use_cluster", not_tpu},
      {"tpu_use_sudo", not_tpu},
      {"command_file", not_tpu},
      {"commands", not_tpu},
  };
  return rules;
}

const Reader::Rules& Reader::fsdp_rules() {
  const Rule nothing = [](Reader& r, const Entry& e) { r.quiet(e); };
  const Rule strategy = [](Reader& r, const Entry& e) { r.sharding_strategy(e); };
  static const Rules rules{
      {"fsdp_version",
       [](Reader& r, const Entry& e) {
         r.only(e, {"1", "2"}, "expected 1 or 2");
       }},
      {"fsdp_sharding_strategy", strategy},
      {"fsdp_reshard_after_forward", strategy},
      {"fsdp_offload_params", [](Reader& r, const Entry& e) { r.set_flag(e, "use_cpu_offload"); }},
      {"fsdp_cpu_ram_efficient_loading", [](Reader& r, const Entry& e) { r.set_flag(e, "low_memory"); }},
      {"fsdp_activation_checkpointing",
       [](Reader& r, const Entry& e) { r.set_flag(e, "use_gradient_checkpointing", {"recompute"}); }},
      {"fsdp_activation_checkpointing_offload",
       [](Reader& r, const Entry& e) { r.set_flag(e, "use_activation_cpu_offload"); }},
      {"fsdp_backward_prefetch", [](Reader& r, const Entry& e) { r.prefetch(e); }},
      // Lorica's unit is the decoder layer, gathered one ahead in both directions; its checkpoints have one form.
      {"fsdp_forward_prefetch", nothing},
      {"fsdp_auto_wrap_policy", nothing},
      {"fsdp_transformer_layer_cls_to_wrap", nothing},
      {"fsdp_min_num_params", nothing},
      {"fsdp_state_dict_type", nothing},
      {"fsdp_sync_module_states", nothing},
      {"fsdp_use_orig_params", nothing},
      {"fsdp_limit_all_gathers", nothing},
      {"fsdp_ignored_modules", [](Reader& r, const Entry& e) { r.only(e, {}, "Lorica shards every module"); }},
      {"fsdp_mixed_precision_policy",
       [](Reader& r, const Entry& e) { r.only(e, {}, "use precision and reduce_dtype instead"); }},
  };
  return rules;
}

const Reader::Rules& Reader::parallel_rules() {
  const auto one = [](const char* what) -> Rule {
    return [what](Reader& r, const Entry& e) { r.only(e, {"1", "0", "false"}, what); };
  };
  static Rules rules{
      {"dp_replicate_size", [](Reader& r, const Entry& e) { r.size_of_copies(e, r.copies_); }},
      {"dp_shard_size", [](Reader& r, const Entry& e) { r.size_of_copies(e, r.shards_); }},
      {"tp_size", one("Lorica has no tensor parallelism; pipeline_stages splits a model by layers")},
      {"cp_size", one("Lorica has no context parallelism")},
      {"sp_size", one("Lorica has no sequence parallelism")},
      {"cp_comm_strategy", [](Reader& r, const Entry& e) { r.quiet(e); }},
  };
  return rules;
}

}  // namespace

void read_accelerate(Command command, const std::filesystem::path& path, Settings& settings) {
  const auto content = read_file(path);
  if (content.size() > kLargestFile) {
    settings.problems.push_back(fmt::format("{}: too large for an Accelerate configuration", path.string()));
    return;
  }
  try {
    const auto root = YAML::Load(content);
    if (!root.IsMap()) {
      settings.problems.push_back(fmt::format("{}: not an Accelerate configuration: no keys", path.string()));
      return;
    }
    Reader(command, path, settings).read(root);
  } catch (const YAML::Exception& error) {
    settings.problems.push_back(fmt::format("{}:{}:{}: not valid YAML: {}", path.string(), error.mark.line + 1,
                                            error.mark.column + 1, error.msg));
  }
}

}  // namespace lorica::config
