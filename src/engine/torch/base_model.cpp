#include "engine/torch/base_model.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "io/json.hpp"
#include "io/peft_adapter.hpp"
#include "io/plain_name.hpp"
#include "quant/checkpoint.hpp"

namespace fs = std::filesystem;

namespace lorica::engine {
namespace {

constexpr const char* kHead = "lm_head.weight";

bool is_float(io::Dtype dtype) {
  return dtype == io::Dtype::f32 || dtype == io::Dtype::bf16 || dtype == io::Dtype::f16 || dtype == io::Dtype::f64;
}

/// Compares in pieces, giving back the pages of each: an embedding may be larger than the memory.
bool same_bytes(const io::WeightFiles& files, const io::TensorView& a, const io::TensorView& b) {
  if (a.dtype != b.dtype || a.shape != b.shape) return false;
  constexpr std::size_t kPiece = std::size_t{16} << 20;
  for (std::size_t at = 0; at < a.bytes; at += kPiece) {
    const auto size = std::min(kPiece, a.bytes - at);
    if (std::memcmp(a.data + at, b.data + at, size) != 0) return false;
    for (auto part : {a, b}) {
      part.data += at;
      part.bytes = size;
      files.release(part);
    }
  }
  return true;
}

bool has_weights(const fs::path& folder) {
  return std::any_of(fs::directory_iterator(folder), fs::directory_iterator{}, [](const fs::directory_entry& entry) {
    const auto name = entry.path().filename().string();
    return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") || name.ends_with(".bin") ||
           name.ends_with(".gguf");
  });
}

}  // namespace

BaseModel::BaseModel(const fs::path& folder, Weights weights)
    : folder_(folder), architecture_(model::read_architecture(folder)) {
  account_.add(architecture_.account);
  quantization_ = io::read_quantization_config(architecture_.raw, config_file(), &account_);
  blocks_ = model::describe_blocks(architecture_);
  if (weights == Weights::ignored || (weights == Weights::optional && !has_weights(folder))) return;
  files_.emplace(folder);
  account_.add(files_->account());
  settle_tying();
  check_tensors();
  name_unused();
}

const std::string& BaseModel::file_name(const std::string& checkpoint_name) const {
  const auto alias = aliases_.find(checkpoint_name);
  return alias == aliases_.end() ? checkpoint_name : alias->second;
}

std::optional<quant::WeightFormat> BaseModel::packed(const model::ParameterSpec& spec) const {
  if (files_) {
    const auto found = packed_.find(spec.checkpoint_name);
    return found == packed_.end() ? std::nullopt : std::optional(found->second);
  }
  // Without files, by what config.json says of them.
  if (!quantization_ || spec.role != model::Role::linear || keeps_dense(spec)) return std::nullopt;
  quant::WeightFormat format;
  format.name = quantization_->eight_bits ? "int8" : quantization_->quant_type;
  format.double_quant = quantization_->double_quantization;
  format.dtype = quantization_->eight_bits ? at::kHalf : at::kBFloat16;
  return format;
}

bool BaseModel::keeps_dense(const model::ParameterSpec& spec) const {
  if (spec.role != model::Role::linear || !quantized()) return false;
  if (files_) return !packed_.contains(spec.checkpoint_name);
  return io::skips_module(*quantization_, io::module_of(spec.checkpoint_name));
}

/// As transformers 5 does: both tensors in the files and different means not tied, whatever config.json says; one alone
/// serves as both.
void BaseModel::settle_tying() {
  if (!architecture_.tied_embeddings) return;
  const auto& embedding = blocks_.front().parameters.front().checkpoint_name;
  const auto *rows = files_->find(embedding), *head = files_->find(kHead);
  if (!head) return;
  if (!rows) {
    aliases_[embedding] = kHead;
    return;
  }
  if (same_bytes(*files_, *rows, *head)) return;
  account_.leave_aside(
      Account::Kind::metadata, config_file(), "tie_word_embeddings",
      fmt::format("it is true, but {} is in the files and differs from {}: they are not tied", kHead, embedding));
  architecture_.tied_embeddings = false;
  architecture_.raw["tie_word_embeddings"] = false;
  blocks_ = model::describe_blocks(architecture_);
}

void BaseModel::check_tensors() {
  for (const auto& block : blocks_) {
    for (const auto& spec : block.parameters) check_tensor(spec);
  }
  if (quantization_ && packed_.empty()) {
    account_.leave_aside(
        Account::Kind::metadata, config_file(), "quantization_config",
        fmt::format("it says {} bits, but no weight in the files is quantized", quantization_->eight_bits ? 8 : 4));
    quantization_.reset();
  }
}

void BaseModel::check_tensor(const model::ParameterSpec& spec) {
  const auto& name = file_name(spec.checkpoint_name);
  const auto* view = files_->find(name);
  if (!view) raise_missing(name);
  const auto file = files_->file_of(name).string();
  auto shape = view->shape;
  const bool matrix = spec.role == model::Role::linear || spec.role == model::Role::head;
  if (const auto weight = matrix ? quant::describe_prequantized(*files_, name) : std::nullopt) {
    packed_[spec.checkpoint_name] = weight->format;
    shape = weight->shape;
  } else if (!is_float(view->dtype)) {
    const auto reason = io::quantization_of(*files_, io::module_of(name));
    if (!reason.empty()) raise<ModelError>("{}: '{}': {}", file, name, reason);
    raise<ModelError>("{}: tensor '{}' is {}: a weight must be F32, BF16, F16 or F64", file, name,
                      io::plain_name(view->dtype));
  }
  if (shape != spec.shape) {
    raise<ModelError>("{}: '{}' has shape [{}], but config.json asks for [{}]", file, name, fmt::join(shape, ", "),
                      fmt::join(spec.shape, ", "));
  }
}

void BaseModel::raise_missing(const std::string& name) const {
  const auto module = io::module_of(name);
  if (const auto reason = io::quantization_of(*files_, module); !reason.empty()) {
    raise<ModelError>("{}: no tensor \"{}\": {}", folder_.string(), name, reason);
  }
  const auto& embedding = blocks_.front().parameters.front().checkpoint_name;
  if (name == kHead && files_->find(embedding)) {
    const bool classifier = files_->find("score.weight") || files_->find("classifier.weight");
    raise<ModelError>(
        "{}: no tensor \"{}\": the model has no output head{}. If its head is the embedding, set "
        "\"tie_word_embeddings\": true "
        "in config.json; else give the causal language model that it was made of.",
        folder_.string(), name, classifier ? ", but one that classifies (score)" : "");
  }
  if (name.starts_with("model.") && files_->find(name.substr(6))) {
    raise<ModelError>(
        "{}: no tensor \"{}\", but \"{}\": the model was saved without its output head (as {}). Give the causal "
        "language model that it was made of, or save it again with transformers' AutoModelForCausalLM.",
        folder_.string(), name, name.substr(6), architecture_.raw.value("architectures", nlohmann::json("…")).dump());
  }
  files_->at(name);
  raise<Error>("internal error: {} is not missing", name);
}

void BaseModel::name_unused() {
  std::set<std::string> used;
  for (const auto& block : blocks_) {
    for (const auto& spec : block.parameters) used.insert(file_name(spec.checkpoint_name));
  }
  if (architecture_.tied_embeddings) used.insert(kHead);
  for (const auto& name : files_->names()) {
    const auto weight = quant::packed_weight_of(name);
    if (used.contains(name) || (!weight.empty() && files_->find(weight))) continue;
    const auto reason = why_unused(name, architecture_);
    if (!reason.empty()) account_.leave_aside(Account::Kind::tensor, folder_.string(), name, reason);
  }
}

}  // namespace lorica::engine
