// Merging an adapter into the base weights, tensor by tensor, and comparing the result with base + adapter.
#include "engine/merge.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "adapters/lora.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/random.hpp"
#include "base/strings.hpp"
#include "engine/engine.hpp"
#include "engine/torch/model_builder.hpp"
#include "engine/torch/saving.hpp"
#include "engine/torch/tensor_io.hpp"
#include "io/hub.hpp"
#include "io/json.hpp"
#include "quant/weight.hpp"

namespace fs = std::filesystem;

namespace lorica::engine {
namespace {

/// The parts of a bitsandbytes weight that go away when it is dequantized.
bool is_quantization_part(const std::string& name) {
  for (const char* part : {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map",
                           ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"}) {
    if (name.ends_with(std::string(".weight") + part)) return true;
  }
  return false;
}

class Merger {
 public:
  explicit Merger(const config::Config& config)
      : config_(config),
        folder_(io::find_model(config.model_name)),
        architecture_(model::read_architecture(folder_)),
        files_(folder_),
        adapter_(config.adapter) {
    for (const auto& block : model::describe_blocks(architecture_)) {
      for (const auto& spec : block.parameters) specs_[spec.checkpoint_name] = spec;
    }
    check_fit();
  }

  MergeReport run() {
    std::error_code error;
    if (fs::exists(config_.output, error) && !fs::is_empty(config_.output, error)) {
      raise<ConfigError>("--output {}: is not empty. Choose another folder, or remove it first.", config_.output);
    }
    plan_shards();
    const auto free = free_disk_bytes(config_.output);
    if (report_.bytes > free) {
      raise<FileError>("--output {}: the merged model takes {}, but only {} are free there", config_.output,
                       format_bytes(report_.bytes), format_bytes(free));
    }
    PendingFolder pending(config_.output);
    for (std::size_t s = 0; s < shards_.size(); ++s) write_shard(pending.path(), s);
    write_companions(pending.path());
    pending.commit();
    return report_;
  }

 private:
  struct Entry {
    std::string name;
    io::Dtype dtype;
    std::vector<std::int64_t> shape;
    std::uint64_t bytes() const {
      std::uint64_t count = io::dtype_size(dtype);
      for (const auto size : shape) count *= static_cast<std::uint64_t>(size);
      return count;
    }
  };

  /// Every tensor of the adapter must have its place in the base, with the right shape (nothing is
  /// resized unasked).
  void check_fit() const {
    const auto misfit = [&](const std::string& name, const std::vector<std::int64_t>& got) {
      const auto found = specs_.find(name);
      if (found == specs_.end())
        raise<ModelError>("{}: adapts '{}', which {} does not have", config_.adapter, name, folder_.string());
      if (found->second.shape != got) {
        raise<ModelError>(
            "{}: its tensors for '{}' make [{}], but {} has [{}]: the adapter belongs to another base model{}",
            config_.adapter, name, fmt::join(got, ", "), folder_.string(), fmt::join(found->second.shape, ", "),
            found->second.shape.size() == 2 && got.size() == 2 && found->second.shape[1] == got[1]
                ? " or to one whose vocabulary was resized"
                : "");
      }
    };
    for (const auto& [module, pair] : adapter_.pairs())
      misfit(module + ".weight", {pair.b->shape[0], pair.a->shape[1]});
    for (const auto& [name, view] : adapter_.saved()) {
      const bool shared =
          architecture_.tied_embeddings && (name == "lm_head.weight" || name == "model.embed_tokens.weight");
      if (shared) {
        raise<ModelError>(
            "{}: trained '{}' as a copy of its own, but the base ties embedding and head; merging would change both. "
            "Untie the base model first.",
            config_.adapter, name);
      }
      misfit(name, view->shape);
    }
  }

  bool quantize_first(const std::string& name) const {
    const auto found = specs_.find(name);
    return config_.train_type == config::TrainType::qlora && found != specs_.end() &&
           found->second.role == model::Role::linear;
  }

  io::Dtype output_dtype(const io::TensorView& view, bool packed) const {
    switch (config_.dtype) {
      case config::DataType::float32:
        return io::Dtype::f32;
      case config::DataType::bfloat16:
        return io::Dtype::bf16;
      case config::DataType::float16:
        return io::Dtype::f16;
      case config::DataType::automatic:
        break;
    }
    return packed ? io::Dtype::bf16 : view.dtype;
  }

  void plan_shards() {
    std::uint64_t used = 0;
    shards_.emplace_back();
    std::set<std::string> dtypes;
    for (const auto& name : files_.names()) {
      if (is_quantization_part(name)) continue;
      const auto& view = files_.at(name);
      const bool packed = quant::is_prequantized(files_, name);
      const auto spec = specs_.find(name);
      const bool floating =
          packed || view.dtype == io::Dtype::f32 || view.dtype == io::Dtype::bf16 || view.dtype == io::Dtype::f16;
      Entry entry{name, floating ? output_dtype(view, packed) : view.dtype,
                  packed && spec != specs_.end() ? spec->second.shape : view.shape};
      if (packed && spec == specs_.end()) entry.shape = quant::load_prequantized(files_, name).shape;
      report_.dequantized = report_.dequantized || packed || quantize_first(name);
      dtypes.insert(std::string(io::dtype_name(entry.dtype)));
      if (used > 0 && used + entry.bytes() > static_cast<std::uint64_t>(config_.shard_size)) {
        shards_.emplace_back();
        used = 0;
      }
      used += entry.bytes();
      report_.bytes += entry.bytes();
      shards_.back().push_back(std::move(entry));
    }
    report_.files = static_cast<std::int64_t>(shards_.size());
    report_.dtype = join({dtypes.begin(), dtypes.end()}, " and ");
  }

  /// The merged tensor in the dtype of its entry; what the adapter leaves alone in an unchanged dtype is returned bit
  /// for bit.
  at::Tensor merged(const Entry& entry) {
    const auto dtype = scalar_type(entry.dtype);
    if (const auto whole = adapter_.saved().find(entry.name); whole != adapter_.saved().end()) {
      ++report_.modules;
      return to_tensor(*whole->second).to(dtype);
    }
    const auto module = entry.name.ends_with(".weight") ? entry.name.substr(0, entry.name.size() - 7) : std::string();
    const auto pair = adapter_.pairs().find(module);
    const bool packed = quant::is_prequantized(files_, entry.name);
    if (!packed && pair == adapter_.pairs().end() && !quantize_first(entry.name))
      return to_tensor(files_.at(entry.name)).to(dtype);
    at::Tensor weight;
    if (packed) {
      weight = quant::dequantize(quant::load_prequantized(files_, entry.name), at::kFloat);
    } else if (quantize_first(entry.name)) {
      quant::WeightFormat format;
      format.kind = kind_of(config_.quant_type);
      format.block_size = static_cast<int>(config_.quant_blocksize);
      format.double_quant = config_.double_quant;
      format.dtype = storage_dtype(config_);
      weight = quant::dequantize(quant::store_from(files_.at(entry.name), format), at::kFloat);
    } else {
      weight = to_tensor(files_.at(entry.name)).to(at::kFloat);
    }
    if (pair != adapter_.pairs().end()) {
      ++report_.modules;
      weight.add_(adapters::lora_delta(to_tensor(*pair->second.a), to_tensor(*pair->second.b),
                                       adapter_.matcher().scale(module) * config_.scale));
    }
    return weight.to(dtype);
  }

  std::string shard_name(std::size_t shard) const {
    return shards_.size() == 1 ? "model.safetensors"
                               : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards_.size());
  }

  void write_shard(const fs::path& folder, std::size_t shard) {
    io::SafetensorsWriter writer(folder / shard_name(shard));
    std::map<std::string, const Entry*> entries;
    for (const auto& entry : shards_[shard]) {
      writer.declare(entry.name, entry.dtype, entry.shape);
      entries[entry.name] = &entry;
      map_[entry.name] = shard_name(shard);
    }
    for (const auto& name : writer.order()) {
      const auto tensor = merged(*entries.at(name)).contiguous();
      writer.write(name, tensor.data_ptr(), tensor.nbytes());
      files_.release(files_.at(name));
    }
    writer.commit();
  }

  void write_companions(const fs::path& folder) {
    if (shards_.size() > 1) {
      io::write_json(folder / "model.safetensors.index.json",
                     nlohmann::ordered_json{{"metadata", {{"total_size", report_.bytes}}}, {"weight_map", map_}});
    }
    copy_companions(folder_, folder);
    auto config = architecture_.raw;
    config.erase("quantization_config");
    const std::string name = report_.dtype == "BF16" ? "bfloat16" : report_.dtype == "F16" ? "float16" : "float32";
    for (const char* key : {"torch_dtype", "dtype"}) {
      if (config.contains(key)) config[key] = name;
    }
    io::write_json(folder / "config.json", config);
  }

  const config::Config& config_;
  fs::path folder_;
  model::Architecture architecture_;
  io::WeightFiles files_;
  io::AdapterFiles adapter_;
  std::map<std::string, model::ParameterSpec> specs_;
  std::vector<std::vector<Entry>> shards_;
  nlohmann::ordered_json map_;
  MergeReport report_;
};

std::vector<float> probe_logits(config::Config config) {
  const auto engine = make_engine(config, Purpose::infer);
  const auto facts = engine->facts();
  data::MicroBatch probe;
  for (std::int32_t i = 0; i < 32; ++i) {
    probe.input_ids.push_back(static_cast<std::int32_t>(
        random_below(mix64(7), static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(facts.vocabulary))));
    probe.positions.push_back(i);
  }
  probe.labels.assign(32, data::kIgnoreLabel);
  probe.offsets = {0, 32};
  probe.examples = {0};
  return engine->logits(probe);
}

}  // namespace

MergeReport merge_adapter(const config::Config& config) {
  auto report = Merger(config).run();
  // Both sides compute in float32; the base stands as it was merged onto.
  auto live = config;
  live.compute_dtype = config::DataType::float32;
  if (config.train_type != config::TrainType::qlora) live.precision = config::Precision::fp32;
  auto whole = live;
  whole.precision = config::Precision::fp32;
  whole.train_type = config::TrainType::lora;
  whole.adapter.clear();
  whole.model_name = config.output;
  const auto a = probe_logits(live), b = probe_logits(whole);
  for (std::size_t i = 0; i < a.size(); ++i) {
    report.largest_difference = std::max(report.largest_difference, static_cast<double>(std::abs(a[i] - b[i])));
    report.largest_logit = std::max(report.largest_logit, static_cast<double>(std::abs(a[i])));
  }
  return report;
}

}  // namespace lorica::engine
