#include "engine/torch/saving.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/files.hpp"
#include "engine/torch/tensor_io.hpp"
#include "io/json.hpp"

namespace fs = std::filesystem;

namespace lorica::engine {
namespace {

/// "model.layers.0.self_attn.q_proj.lora_A.weight" -> PEFT's key.
std::string adapter_key(const std::string& name) {
  for (const bool first : {true, false}) {
    const std::string suffix = first ? ".lora_A.weight" : ".lora_B.weight";
    if (name.ends_with(suffix)) {
      const auto module = name.substr(0, name.size() - suffix.size());
      return first ? io::lora_a_key(module) : io::lora_b_key(module);
    }
  }
  const auto dot = name.rfind('.');
  return io::saved_module_key(name.substr(0, dot), name.substr(dot + 1));
}

/// Parameters that belong to the adapter (also when nothing is trained, for inference).
bool of_adapter(const Parameter& parameter) {
  return parameter.trained || parameter.name.ends_with(".lora_A.weight") || parameter.name.ends_with(".lora_B.weight");
}

void save_adapter(const Model& model, const fs::path& folder) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& parameter : model.store->parameters()) {
    if (of_adapter(parameter)) tensors.emplace_back(adapter_key(parameter.name), parameter.stored->data);
  }
  save_tensors(folder / io::kAdapterWeightsFile, tensors);
  io::write_adapter_config(folder / io::kAdapterConfigFile, *model.adapter);
}

void save_full(const Model& model, const fs::path& folder, std::int64_t shard_bytes) {
  std::vector<std::vector<const Parameter*>> shards(1);
  std::uint64_t used = 0, total = 0;
  for (const auto& parameter : model.store->parameters()) {
    const auto bytes = parameter.stored->bytes();
    if (used > 0 && used + bytes > static_cast<std::uint64_t>(shard_bytes)) {
      shards.emplace_back();
      used = 0;
    }
    shards.back().push_back(&parameter);
    used += bytes;
    total += bytes;
  }
  nlohmann::ordered_json map;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const auto name = shards.size() == 1 ? std::string("model.safetensors")
                                         : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const auto* parameter : shards[s]) {
      ensure(!parameter->stored->quantized(), "{} is quantized and can't be saved as a plain weight", parameter->name);
      tensors.emplace_back(parameter->name, parameter->stored->data);
      map[parameter->name] = name;
    }
    save_tensors(folder / name, tensors);
  }
  if (shards.size() > 1) {
    io::write_json(folder / "model.safetensors.index.json",
                   nlohmann::ordered_json{{"metadata", {{"total_size", total}}}, {"weight_map", map}});
  }
  copy_companions(model.folder, folder);
}

}  // namespace

void save_trained(const Model& model, const fs::path& folder, std::int64_t shard_bytes) {
  if (model.adapter) {
    save_adapter(model, folder);
  } else {
    save_full(model, folder, shard_bytes);
  }
}

std::map<std::string, at::Tensor> read_trained(const Model& model, const fs::path& folder) {
  std::optional<io::WeightFiles> files;
  if (model.adapter) {
    files.emplace(folder / io::kAdapterWeightsFile);
  } else {
    files.emplace(folder);
  }
  std::map<std::string, at::Tensor> tensors;
  for (const auto& parameter : model.store->parameters()) {
    if (!parameter.trained) continue;
    const auto& view = files->at(model.adapter ? adapter_key(parameter.name) : parameter.name);
    if (view.shape != parameter.stored->shape || scalar_type(view.dtype) != parameter.stored->format.dtype) {
      raise<ModelError>("{}: '{}' is {} [{}], but this run trains {} [{}]. The checkpoint belongs to other options.",
                        folder.string(), view.name, io::dtype_name(view.dtype), fmt::join(view.shape, ", "),
                        io::dtype_name(file_dtype(parameter.stored->format.dtype)),
                        fmt::join(parameter.stored->shape, ", "));
    }
    tensors[parameter.name] = to_tensor(view);
  }
  return tensors;
}

void copy_companions(const fs::path& from, const fs::path& to) {
  static const std::vector<std::string> kinds{".json", ".jinja", ".model", ".txt"};
  for (const auto& entry : fs::directory_iterator(from)) {
    const auto name = entry.path().filename().string();
    const bool index = name.ends_with(".safetensors.index.json") || name.ends_with(".bin.index.json");
    const bool kind = std::find(kinds.begin(), kinds.end(), entry.path().extension().string()) != kinds.end();
    const bool adapter = name == io::kAdapterConfigFile;
    if (entry.is_regular_file() && kind && !index && !adapter) write_file(to / name, read_file(entry.path()));
  }
}

}  // namespace lorica::engine
