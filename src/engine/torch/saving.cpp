#include "engine/torch/saving.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "engine/torch/sharded_weight.hpp"
#include "engine/torch/tensor_io.hpp"
#include "io/json.hpp"
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
  const auto dot = name.rfind('.');
  return io::saved_module_key(name.substr(0, dot), name.substr(dot + 1));
}

/// Parameters that belong to the adapter (also when nothing is trained, for inference).
bool of_adapter(const Parameter& parameter) {
  return parameter.trained || parameter.name.ends_with(".lora_A.weight") || parameter.name.ends_with(".lora_B.weight");
}

/// A tensor to be saved, and the stage that holds it.
struct Entry {
  Parameter parameter;  // without tensors
  int stage = 0;
  std::uint64_t bytes() const {
    return static_cast<std::uint64_t>(parameter.stored->elements()) * c10::elementSize(parameter.stored->format.dtype);
  }
};

/// Everything that will be saved, on all stages, in the model's order; the same list on every process.
std::vector<Entry> list_entries(const Model& model) {
  std::vector<Parameter> mine;
  for (const auto& parameter : model.store->parameters()) {
    if ((!model.adapter || of_adapter(parameter)) && !is_repeated(model, parameter.name)) mine.push_back(parameter);
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

std::string hash_of(const void* data, std::size_t bytes) {
  return ContentHash().add(std::string_view(static_cast<const char*>(data), bytes)).hex();
}

/// Files of a model folder, filled one tensor at a time.
class Output {
 public:
  Output(const Model& model, const fs::path& folder, const std::vector<Entry>& entries, std::uint64_t limit)
      : model_(model), folder_(folder) {
    std::vector<std::vector<const Entry*>> shards(1);
    std::uint64_t used = 0;
    for (const auto& entry : entries) {
      if (!model.adapter && used > 0 && used + entry.bytes() > limit) {
        shards.emplace_back();
        used = 0;
      }
      shards.back().push_back(&entry);
      used += entry.bytes();
      total_ += entry.bytes();
    }
    for (std::size_t s = 0; s < shards.size(); ++s) {
      const auto name = model.adapter        ? std::string(io::kAdapterWeightsFile)
                        : shards.size() == 1 ? std::string("model.safetensors")
                                             : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
      writers_.push_back(std::make_unique<io::SafetensorsWriter>(folder / name));
      files_.push_back(name);
      for (const auto* entry : shards[s]) {
        const auto& stored = *entry->parameter.stored;
        const auto key = saved_name(model, entry->parameter.name);
        writers_.back()->declare(key, file_dtype(stored.format.dtype), stored.shape);
        place_[key] = s;
      }
    }
  }

  void write(const std::string& parameter, const at::Tensor& tensor) {
    const auto key = saved_name(model_, parameter);
    const auto data = tensor.detach().cpu().contiguous();
    writers_[place_.at(key)]->write(key, data.const_data_ptr(), data.nbytes());
    hashes_[key] = hash_of(data.const_data_ptr(), data.nbytes());
  }

  void finish() {
    for (auto& writer : writers_) writer->commit();
    if (model_.adapter) {
      io::write_adapter_config(folder_ / io::kAdapterConfigFile, *model_.adapter);
    } else {
      if (files_.size() > 1) write_index();
      copy_companions(model_.folder, folder_);
    }
    for (std::size_t s = 0; s < files_.size(); ++s) check(s);
  }

 private:
  void write_index() const {
    nlohmann::ordered_json map;
    for (const auto& [key, file] : place_) map[key] = files_[file];
    io::write_json(folder_ / "model.safetensors.index.json",
                   nlohmann::ordered_json{{"metadata", {{"total_size", total_}}}, {"weight_map", map}});
  }
  void check(std::size_t number) const {
    const io::SafetensorsFile file(folder_ / files_[number]);
    for (const auto& [key, place] : place_) {
      if (place != number) continue;
      const auto* view = file.find(key);
      if (view == nullptr || hash_of(view->data, view->bytes) != hashes_.at(key)) {
        raise<Error>("{}: '{}' reads back differently from what was saved", file.path().string(), key);
      }
    }
  }

  const Model& model_;
  fs::path folder_;
  std::vector<std::unique_ptr<io::SafetensorsWriter>> writers_;
  std::vector<std::string> files_;
  std::map<std::string, std::size_t> place_;  // of a key among the files
  std::map<std::string, std::string> hashes_;
  std::uint64_t total_ = 0;
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
