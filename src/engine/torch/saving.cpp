#include "engine/torch/saving.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/files.hpp"
#include "engine/torch/sharded_weight.hpp"
#include "engine/torch/tensor_io.hpp"
#include "io/json.hpp"
#include "io/saved_config.hpp"
#include "parallel/exchange.hpp"

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
  const auto module = io::module_of(name);
  return io::saved_module_key(module, name.substr(module.size() + 1));
}

/// Parameters that belong to the adapter (also when nothing is trained, for inference).
bool of_adapter(const Model& model, const Parameter& parameter) {
  return parameter.trained || model.brought.contains(parameter.name) || parameter.name.ends_with(".lora_A.weight") ||
         parameter.name.ends_with(".lora_B.weight");
}

/// A tensor to be saved, and the stage that holds it.
struct Entry {
  Parameter parameter;  // without tensors
  int stage = 0;
};

/// Everything that will be saved, on all stages, in the model's order; the same list on every process.
std::vector<Entry> list_entries(const Model& model) {
  std::vector<Parameter> mine;
  for (const auto& parameter : model.store->parameters()) {
    if ((!model.adapter || of_adapter(model, parameter)) && !is_repeated(model, parameter.name))
      mine.push_back(parameter);
  }
  std::vector<std::string> texts{describe(mine).dump()};
  if (model.pipeline) texts = parallel::all_gather_text(*model.pipeline, texts.front());
  std::vector<Entry> entries;
  for (std::size_t stage = 0; stage < texts.size(); ++stage) {
    for (auto& parameter : from_description(nlohmann::json::parse(texts[stage]))) {
      ensure(!parameter.stored->quantized(), "{} is quantized and can't be saved as a plain weight", parameter.name);
      entries.push_back({std::move(parameter), static_cast<int>(stage)});
    }
  }
  return entries;
}

/// The entry's tensor, whole, on the first process (elsewhere whatever is at hand). Collective.
at::Tensor fetch(const Model& model, const Entry& entry) {
  const auto& mesh = model.mesh;
  at::Tensor tensor;
  if (mesh.stage == entry.stage && mesh.replica == 0) tensor = model.store->whole(entry.parameter.name);
  if (entry.stage == 0 || mesh.data_rank() != 0) return tensor;
  constexpr int kTag = 1;
  if (mesh.stage == entry.stage) model.pipeline->send(tensor.contiguous(), 0, kTag).wait();
  if (mesh.stage == 0) {
    tensor = at::empty(entry.parameter.stored->shape,
                       at::TensorOptions().dtype(entry.parameter.stored->format.dtype).device(model.device));
    model.pipeline->receive(tensor, entry.stage, kTag).wait();
  }
  return tensor;
}

/// The weight files of a model or adapter folder, filled one tensor at a time, and what belongs beside them.
class Output {
 public:
  Output(const Model& model, const fs::path& folder, const std::vector<Entry>& entries, std::uint64_t limit)
      : model_(model),
        folder_(folder),
        writer_(folder, tensors_of(model, entries), model.adapter ? 0 : limit,
                model.adapter ? io::kAdapterWeightsFile : "model.safetensors") {}

  void write(const std::string& parameter, const at::Tensor& tensor) {
    const auto data = tensor.detach().cpu().contiguous();
    writer_.write(saved_name(model_, parameter), data.const_data_ptr(), data.nbytes());
  }

  void finish() {
    writer_.finish();
    if (model_.adapter) {
      io::write_adapter_config(folder_ / io::kAdapterConfigFile, *model_.adapter);
    } else {
      write_companions(model_.folder, model_.architecture, writer_, folder_);
    }
  }

 private:
  static std::vector<io::ShardedWriter::Tensor> tensors_of(const Model& model, const std::vector<Entry>& entries) {
    std::vector<io::ShardedWriter::Tensor> tensors;
    for (const auto& entry : entries) {
      const auto& stored = *entry.parameter.stored;
      tensors.push_back({saved_name(model, entry.parameter.name), file_dtype(stored.format.dtype), stored.shape});
    }
    return tensors;
  }

  const Model& model_;
  fs::path folder_;
  io::ShardedWriter writer_;
};

}  // namespace

std::string saved_name(const Model& model, const std::string& parameter) {
  return model.adapter ? adapter_key(parameter) : parameter;
}

void save_trained(Model& model, parallel::World* world, const fs::path& folder, std::int64_t shard_bytes) {
  const bool writes = world == nullptr || world->main();
  const auto entries = list_entries(model);
  std::optional<Output> output;
  if (writes) output.emplace(model, folder, entries, static_cast<std::uint64_t>(shard_bytes));
  for (const auto& entry : entries) {
    const auto tensor = fetch(model, entry);
    if (output) output->write(entry.parameter.name, tensor);
  }
  if (output) output->finish();
}

void write_companions(const fs::path& from, const model::Architecture& architecture, const io::ShardedWriter& weights,
                      const fs::path& to) {
  static const std::vector<std::string> kinds{".json", ".jinja", ".model", ".txt"};
  for (const auto& entry : fs::directory_iterator(from)) {
    const auto name = entry.path().filename().string();
    const bool index = name.ends_with(".safetensors.index.json") || name.ends_with(".bin.index.json");
    const bool kind = std::find(kinds.begin(), kinds.end(), entry.path().extension().string()) != kinds.end();
    const bool adapter = name == io::kAdapterConfigFile;
    if (entry.is_regular_file() && kind && !index && !adapter) write_file(to / name, read_file(entry.path()));
  }
  // It was read before, so it parses; read again for the order of its keys.
  const auto config = nlohmann::ordered_json::parse(read_file(from / "config.json"));
  io::write_json(to / "config.json", io::config_for_saved(config, weights.main_dtype(), architecture.tied_embeddings));
}

}  // namespace lorica::engine
