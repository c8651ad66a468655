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
#include "engine/torch/block_loader.hpp"
#include "engine/torch/model_builder.hpp"
#include "engine/torch/saving.hpp"
#include "engine/torch/tensor_io.hpp"
#include "io/hub.hpp"
#include "io/plain_name.hpp"
#include "quant/weight.hpp"

namespace fs = std::filesystem;

namespace lorica::engine {
namespace {

std::vector<float> probe_logits(config::Config config) {
  const auto engine = make_engine(config, Purpose::probe);
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
    check_output();
    plan_tensors();
    PendingFolder pending(config_.output);
    write(pending.path());
    compare(pending.path());
    pending.commit();
    return report_;
  }

 private:
  /// A folder that is replaced must be a model: what else it may be is the user's own.
  void check_output() const {
    std::error_code error;
    const fs::path output = config_.output;
    if (!fs::exists(output, error) || fs::is_empty(output, error)) return;
    const bool model = fs::exists(output / "config.json", error);
    if (model && config_.overwrite_output_dir && !fs::equivalent(output, folder_, error)) return;
    raise<ConfigError>(
        "--output {}: is not empty. Choose another folder{}.", config_.output,
        model ? ", or replace the model that is in it (--overwrite_output_dir true)" : ", or remove it first");
  }

  using Entry = io::ShardedWriter::Tensor;

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

  void plan_tensors() {
    std::set<std::string> dtypes;
    for (const auto& name : files_.names()) {
      if (quant::is_quantization_part(name)) continue;
      const auto& view = files_.at(name);
      const bool packed = quant::is_prequantized(files_, name);
      const auto spec = specs_.find(name);
      const bool floating =
          packed || view.dtype == io::Dtype::f32 || view.dtype == io::Dtype::bf16 || view.dtype == io::Dtype::f16;
      Entry entry{name, floating ? output_dtype(view, packed) : view.dtype,
                  packed && spec != specs_.end() ? spec->second.shape : view.shape};
      if (packed && spec == specs_.end()) entry.shape = quant::load_prequantized(files_, name).shape;
      report_.dequantized = report_.dequantized || packed || quantize_first(name);
      dtypes.insert(std::string(io::plain_name(entry.dtype)));
      entries_.push_back(std::move(entry));
    }
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
      weight = quant::dequantize(quant::store_from(files_.at(entry.name), quantized_format(config_)), at::kFloat);
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

  void write(const fs::path& folder) {
    io::ShardedWriter writer(folder, entries_, static_cast<std::uint64_t>(config_.shard_size));
    std::map<std::string, const Entry*> entries;
    for (const auto& entry : entries_) entries[entry.name] = &entry;
    for (const auto& name : writer.order()) {
      const auto& entry = *entries.at(name);
      const auto tensor = merged(entry).contiguous();
      check_range(entry, tensor);
      writer.write(name, tensor.data_ptr(), tensor.nbytes());
      files_.release(files_.at(name));
    }
    const auto adapted = static_cast<std::int64_t>(adapter_.pairs().size() + adapter_.saved().size());
    if (report_.modules != adapted) {
      raise<ModelError>("{}: {} of its {} modules have no weight of their own in {}, so they can't be merged into it",
                        config_.adapter, adapted - report_.modules, adapted, folder_.string());
    }
    writer.finish();
    write_companions(folder_, architecture_, writer, folder);
    report_.files = static_cast<std::int64_t>(writer.files());
    report_.bytes = writer.total_bytes();
    main_dtype_ = writer.main_dtype();
  }

  /// float16 ends at 65504.
  void check_range(const Entry& entry, const at::Tensor& tensor) const {
    if (entry.dtype != io::Dtype::f16 || at::isfinite(tensor).all().item<bool>()) return;
    raise<ModelError>("--adapter {}: with it '{}' holds values that float16 can't: give --dtype bfloat16 or float32",
                      config_.adapter, entry.name);
  }

  /// Base + adapter against what stands in `folder`: logits of a few tokens, with weights that are read block by block.
  void compare(const fs::path& folder) {
    // Both sides compute in float32; the base stands as it was merged onto.
    auto live = config_;
    live.compute_dtype = config::DataType::float32;
    if (config_.train_type != config::TrainType::qlora) live.precision = config::Precision::fp32;
    auto whole = live;
    whole.precision = config::Precision::fp32;
    whole.train_type = config::TrainType::lora;
    whole.adapter.clear();
    whole.model_name = folder.string();
    const auto a = probe_logits(live), b = probe_logits(whole);
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
      // The first NaN stays.
      if (!(difference <= report_.largest_difference) && !std::isnan(report_.largest_difference))
        report_.largest_difference = difference;
      report_.largest_logit = std::max(report_.largest_logit, static_cast<double>(std::abs(a[i])));
    }
    MergePrecision precision;
    precision.rounding = unit_roundoff(main_dtype_);
    // What isn't quantized was rounded to the storage dtype when the adapter was trained, and isn't in the merged
    // model.
    if (config_.train_type == config::TrainType::qlora)
      precision.rounding = std::max(precision.rounding, unit_roundoff(file_dtype(storage_dtype(config_))));
    precision.layers = architecture_.layer_count();
    precision.width = architecture_.hidden_size;
    for (const auto& layer : architecture_.layers) {
      precision.width = std::max(precision.width, layer.mlp.intermediate_size);
    }
    report_.tolerance = merge_tolerance(precision, report_.largest_logit);
    if (report_.largest_difference <= report_.tolerance) return;
    raise<ModelError>(
        "--output {}: not written: the merged model's logits differ from those of base + adapter by {:.3g}, more than "
        "the {:.3g} that rounding to {} explains (logits up to {:.3g}). {}",
        config_.output, report_.largest_difference, report_.tolerance, report_.dtype, report_.largest_logit,
        std::isnan(report_.largest_difference)
            ? "Some are no numbers: the adapter or the base holds NaN or infinity, or its training diverged."
            : "Either the adapter's values are so large that its training must have diverged (try an earlier "
              "checkpoint), or this dtype is too coarse for them (try --dtype float32), or a file is damaged.");
  }

  const config::Config& config_;
  fs::path folder_;
  model::Architecture architecture_;
  io::WeightFiles files_;
  io::AdapterFiles adapter_;
  std::map<std::string, model::ParameterSpec> specs_;
  std::vector<Entry> entries_;
  io::Dtype main_dtype_ = io::Dtype::f32;
  MergeReport report_;
};

}  // namespace

double unit_roundoff(io::Dtype dtype) {
  const int digits = dtype == io::Dtype::bf16 ? 8 : dtype == io::Dtype::f16 ? 11 : 24;
  return std::ldexp(1.0, -digits);
}

double merge_tolerance(const MergePrecision& precision, double largest_logit) {
  const double product = precision.rounding + unit_roundoff(io::Dtype::f32) * std::sqrt(precision.width);
  return 4 * product * std::sqrt(4.0 * static_cast<double>(precision.layers) + 1) * largest_logit;
}

MergeReport merge_adapter(const config::Config& config) {
  return Merger(config).run();
}

}  // namespace lorica::engine
