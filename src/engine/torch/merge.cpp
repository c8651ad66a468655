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
#include "io/folder_kind.hpp"
#include "io/plain_name.hpp"
#include "quant/checkpoint.hpp"

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
        base_(io::find_base_model(config.model_name), BaseModel::Weights::needed),
        folder_(base_.folder()),
        architecture_(base_.architecture()),
        files_(*base_.files()),
        plan_(plan_adapter(config, architecture_, base_.blocks(), /*trains=*/false)),
        adapter_(*plan_->files) {
    for (const auto& block : base_.blocks()) {
      for (const auto& spec : block.parameters) specs_[spec.checkpoint_name] = spec;
    }
    report_.account = base_.account();
    report_.account.add(adapter_.config().account);
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

  /// The parameter that a tensor of the files is; nullptr if the model doesn't use it.
  const model::ParameterSpec* spec_of(const std::string& name) const {
    const bool tied_head = architecture_.tied_embeddings && name == "lm_head.weight";
    const auto found = specs_.find(tied_head ? base_.blocks().front().parameters.front().checkpoint_name : name);
    return found == specs_.end() ? nullptr : &found->second;
  }

  /// The adapter's own tensor in its place; nullptr if it has none.
  const io::TensorView* brought(const std::string& name) const {
    const auto* spec = spec_of(name);
    const auto found = spec ? plan_->brought.find(spec->checkpoint_name) : plan_->brought.end();
    return found == plan_->brought.end() ? nullptr : found->second;
  }

  /// Stored dense, but seen in 4 bits by QLoRA.
  bool quantize_first(const std::string& name) const {
    const auto* spec = spec_of(name);
    return spec && !quant::is_prequantized(files_, name) && weight_format(config_, plan_, base_, *spec).quantized();
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
      Entry entry{name, spec_of(name) || packed ? output_dtype(view, packed) : view.dtype, view.shape};
      if (packed) entry.shape = quant::describe_prequantized(files_, name)->shape;
      report_.dequantized = report_.dequantized || packed || quantize_first(name);
      if (spec_of(name)) dtypes.insert(std::string(io::plain_name(entry.dtype)));
      entries_.push_back(std::move(entry));
    }
    report_.dtype = join({dtypes.begin(), dtypes.end()}, " and ");
  }

  /// The merged tensor in the dtype of its entry; what the adapter leaves alone in an unchanged dtype is returned bit
  /// for bit.
  at::Tensor merged(const Entry& entry) {
    const auto dtype = scalar_type(entry.dtype);
    if (const auto* whole = brought(entry.name)) {
      placed_.insert(spec_of(entry.name)->checkpoint_name);
      return to_tensor(*whole).to(dtype);
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
      weight = quant::dequantize(
          quant::store_from(files_.at(entry.name), weight_format(config_, plan_, base_, *spec_of(entry.name))),
          at::kFloat);
    } else {
      weight = to_tensor(files_.at(entry.name)).to(at::kFloat);
    }
    if (pair != adapter_.pairs().end()) {
      placed_.insert(entry.name);
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
      const auto& view = files_.at(name);
      if (!spec_of(name) && !quant::is_prequantized(files_, name)) {
        writer.write(name, view.data, view.bytes);  // of whatever type it is
        files_.release(view);
        continue;
      }
      const auto tensor = merged(entry).contiguous();
      check_range(entry, tensor);
      writer.write(name, tensor.data_ptr(), tensor.nbytes());
      files_.release(view);
    }
    report_.modules = static_cast<std::int64_t>(placed_.size());
    const auto adapted = static_cast<std::int64_t>(adapter_.pairs().size() + plan_->brought.size());
    ensure(report_.modules == adapted, "{} of {} modules were merged", report_.modules, adapted);
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
  BaseModel base_;
  const fs::path& folder_;
  const model::Architecture& architecture_;
  const io::WeightFiles& files_;
  std::optional<AdapterPlan> plan_;
  const io::AdapterFiles& adapter_;
  std::map<std::string, model::ParameterSpec> specs_;
  std::vector<Entry> entries_;
  std::set<std::string> placed_;  // weights that the adapter changed
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
