#include "io/folder_kind.hpp"

#include <algorithm>
#include <vector>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "io/hub.hpp"
#include "io/json.hpp"
#include "io/peft_adapter.hpp"

namespace fs = std::filesystem;

namespace lorica::io {
namespace {

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

bool is_pickle(const std::string& name) {
  return name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth");
}

/// The base model that an adapter names, for a command line; BASE if it doesn't say.
std::string base_of(const fs::path& adapter) {
  try {
    const auto config = read_json(adapter / kAdapterConfigFile);
    return JsonFields(config, "").string("base_model_name_or_path").value_or("BASE");
  } catch (const Error&) {
    return "BASE";
  }
}

/// The newest "checkpoint-<step>" of a run; "" if it has none.
std::string newest_checkpoint(const fs::path& run) {
  std::string newest;
  for (const auto& name : names_in(run)) {
    const bool later = name.size() > newest.size() || (name.size() == newest.size() && name > newest);
    if (name.starts_with("checkpoint-") && later) newest = name;
  }
  return newest;
}

/// What `path` is, as the end of "…: is ".
std::string what_it_is(const fs::path& path, FolderKind kind) {
  switch (kind) {
    case FolderKind::model:
      return "a model folder";
    case FolderKind::adapter:
      return "a LoRA adapter (adapter_config.json)";
    case FolderKind::checkpoint:
      return "a checkpoint of a training run";
    case FolderKind::trainer_checkpoint:
      return "a checkpoint of transformers' Trainer";
    case FolderKind::run:
      return "the folder of a training run";
    case FolderKind::tokenizer:
      return "a folder with a tokenizer alone: no config.json and no weights are there";
    case FolderKind::pickles:
      return "a folder whose weights are pickles (.bin, .pt). A pickle can run any code, so Lorica doesn't open it";
    case FolderKind::gguf:
      return fs::is_directory(path) ? "a folder of GGUF files" : "a GGUF file";
    case FolderKind::empty:
      return "an empty folder";
    default:
      return fs::is_directory(path) ? "a folder without config.json" : "a file";
  }
}

std::string remedy_for_model(const fs::path& path, FolderKind kind) {
  switch (kind) {
    case FolderKind::adapter:
      return fmt::format(
          "Give the model that it was trained on, and the adapter beside it: --model_name {} --adapter {}",
          base_of(path), path.string());
    case FolderKind::checkpoint:
    case FolderKind::trainer_checkpoint:
      return fmt::format("Give the model that it trains as --model_name; go on from the checkpoint with --resume {}",
                         path.string());
    case FolderKind::run: {
      const auto final_folder = path / "final";
      if (!fs::exists(final_folder)) return "It holds no final model yet. Give the model that it trains.";
      if (!fs::exists(final_folder / kAdapterConfigFile)) return "Give --model_name " + final_folder.string();
      return fmt::format("Its result is an adapter: --model_name {} --adapter {}", base_of(final_folder),
                         final_folder.string());
    }
    case FolderKind::tokenizer:
      return "Fetch the whole model: config.json and *.safetensors belong to it";
    case FolderKind::pickles:
      return "Convert it with transformers (save_pretrained writes safetensors), or fetch the safetensors version";
    case FolderKind::gguf:
      return "GGUF files can't be trained. Give the model that they were made of: a folder with config.json and "
             "*.safetensors";
    default:
      return "A model folder holds config.json, *.safetensors and a tokenizer";
  }
}

std::string remedy_for_adapter(const fs::path& path, FolderKind kind) {
  switch (kind) {
    case FolderKind::model:
      return fmt::format("Give it as --model_name {}, without --adapter", path.string());
    case FolderKind::checkpoint:
    case FolderKind::trainer_checkpoint:
      return fmt::format("Go on from it with --resume {}; the adapter of a run that ended is in its folder 'final'",
                         path.string());
    case FolderKind::run:
      return fs::exists(path / "final" / kAdapterConfigFile) ? "Give --adapter " + (path / "final").string()
                                                             : "It holds no adapter: the run isn't over, or it trained "
                                                               "the whole model";
    default:
      return fmt::format("An adapter folder holds {} and {}", kAdapterConfigFile, kAdapterWeightsFile);
  }
}

std::string remedy_for_checkpoint(const fs::path& path, FolderKind kind) {
  const auto newest = newest_checkpoint(path);
  switch (kind) {
    case FolderKind::adapter:
      return fmt::format(
          "It has no optimizer state to go on with. Train it further in a new run: --adapter {}, without "
          "--resume",
          path.string());
    case FolderKind::model:
      return fmt::format(
          "It has no optimizer state to go on with. Train it further in a new run: --model_name {}, "
          "without --resume",
          path.string());
    case FolderKind::trainer_checkpoint:
      return fmt::format(
          "Its optimizer state is a pickle, which Lorica doesn't open. Its adapter can be trained further "
          "in a new run: --adapter {}, without --resume",
          path.string());
    case FolderKind::run:
      return newest.empty() ? "It holds no checkpoint. Start anew without --resume, and set --save_steps to have some"
                            : fmt::format("Give --resume {}, or --output_dir {} --resume true",
                                          (path / newest).string(), path.string());
    default:
      return "A checkpoint is a folder checkpoint-<step> of a run (--save_steps makes some)";
  }
}

}  // namespace

FolderKind folder_kind(const fs::path& path) {
  if (!fs::is_directory(path)) {
    const auto extension = path.extension();
    return extension == ".gguf"                  ? FolderKind::gguf
           : is_pickle(path.filename().string()) ? FolderKind::pickles
                                                 : FolderKind::other;
  }
  const auto names = names_in(path);
  const auto has = [&](const std::string& name) { return std::binary_search(names.begin(), names.end(), name); };
  const auto any = [&](const auto& test) { return std::any_of(names.begin(), names.end(), test); };
  if (names.empty()) return FolderKind::empty;
  if (has("trainer_state.json")) {
    const bool theirs = has("optimizer.pt") || has("scheduler.pt") || has("training_args.bin") || has("rng_state.pth");
    return theirs ? FolderKind::trainer_checkpoint : FolderKind::checkpoint;
  }
  if (has("metrics.jsonl") || (has("final") && has("config.toml"))) return FolderKind::run;
  if (any([](const auto& name) { return name.starts_with("checkpoint-"); }) && !has("config.json")) {
    return FolderKind::run;
  }
  if (has("config.json")) return FolderKind::model;
  if (has(kAdapterConfigFile) || has(kAdapterWeightsFile)) return FolderKind::adapter;
  if (any([](const auto& name) { return name.ends_with(".gguf"); })) return FolderKind::gguf;
  if (any(is_pickle)) return FolderKind::pickles;
  if (has("tokenizer.json") || has("tokenizer.model") || has("tokenizer_config.json")) return FolderKind::tokenizer;
  return FolderKind::other;
}

void refuse_folder(const fs::path& path, FolderKind wanted) {
  const auto kind = folder_kind(path);
  const bool model = wanted == FolderKind::model, adapter = wanted == FolderKind::adapter;
  raise<ModelError>("{}: is {}, not {}. {}.", path.string(), what_it_is(path, kind),
                    model     ? "a model folder with config.json"
                    : adapter ? "an adapter"
                              : "a checkpoint to go on from",
                    model     ? remedy_for_model(path, kind)
                    : adapter ? remedy_for_adapter(path, kind)
                              : remedy_for_checkpoint(path, kind));
}

fs::path find_base_model(const std::string& name) {
  auto path = find_model(name);
  if (!fs::exists(path / "config.json")) refuse_folder(path, FolderKind::model);
  return path;
}

}  // namespace lorica::io
