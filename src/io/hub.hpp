// From the name that a user gives a model to a folder on this machine: a folder as it is, or a snapshot in the local
// Hugging Face Hub cache. The environment variables of that ecosystem are read here and nowhere else.
#pragma once

#include <filesystem>
#include <string>

namespace lorica::io {

/// Where the Hub's files lie: HF_HUB_CACHE (or the older HUGGINGFACE_HUB_CACHE), else HF_HOME/hub, else
/// XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub.
std::filesystem::path hub_cache_folder();

/// Whether `name` has the form of a Hub id: "name" or "organisation/name", of letters, digits, '-', '_' and '.'.
bool is_hub_id(const std::string& name);

/// The folder of a model: `name` itself if such a folder (or .safetensors file) exists, else the snapshot of `name` at
/// `revision` (branch, tag or full commit) in `cache`. Throws FileError that says where it looked and what to run to
/// fetch the model.
std::filesystem::path find_model(const std::string& name, const std::string& revision = "main");
std::filesystem::path find_model(const std::string& name, const std::string& revision,
                                 const std::filesystem::path& cache);

}  // namespace lorica::io
