// What a folder is that a user gave as a model, an adapter or a checkpoint, and what to type instead if it is another
// thing than was asked for.
#pragma once

#include <filesystem>
#include <string>

namespace lorica::io {

enum class FolderKind {
  model,               ///< config.json and weights as safetensors
  adapter,             ///< adapter_config.json (PEFT)
  checkpoint,          ///< of a run of ours: all that resuming needs
  trainer_checkpoint,  ///< of transformers' Trainer
  run,                 ///< output_dir of a run of ours
  tokenizer,           ///< tokenizer files alone
  pickles,             ///< weights as .bin, .pt or .pth alone
  gguf,                ///< a GGUF file, or nothing but such
  empty,               ///< nothing at all
  other
};

/// By the files that are there; nothing of them is read. `path` may be a file.
FolderKind folder_kind(const std::filesystem::path& path);

/// Throws ModelError: `path` is not what `wanted` (model, adapter or checkpoint) says, what it is instead, and the
/// options to type.
[[noreturn]] void refuse_folder(const std::filesystem::path& path, FolderKind wanted);

/// find_model() of io/hub.hpp for those who need a whole model, not its tokenizer alone: throws ModelError by
/// refuse_folder() if what it finds has no config.json.
std::filesystem::path find_base_model(const std::string& name);

}  // namespace lorica::io
