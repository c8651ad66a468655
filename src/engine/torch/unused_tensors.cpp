// Why a checkpoint's tensor has no use: by its name.
#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <string_view>

#include <fmt/format.h>

#include "base/strings.hpp"
#include "engine/torch/base_model.hpp"

namespace lorica::engine {
namespace {

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](auto end) { return name.ends_with(end); });
}

/// Whether a whole name of the path begins with one of `words`.
bool has_part(const std::string& name, std::initializer_list<std::string_view> words) {
  const auto parts = split(name, '.');
  return std::any_of(parts.begin(), parts.end(), [&](const std::string& part) {
    return std::any_of(words.begin(), words.end(), [&](auto word) { return part.starts_with(word); });
  });
}

/// 3 of "model.layers.3.mlp.up_proj.weight"; −1 if the tensor belongs to no layer.
int64_t layer_of(const std::string& name) {
  const std::string_view list = "layers.";
  const auto at = name.find(list);
  if (at == std::string::npos) return -1;
  int64_t layer = -1;
  const char *begin = name.data() + at + list.size(), *end = name.data() + name.size();
  const auto parsed = std::from_chars(begin, end, layer);
  return parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == '.' ? layer : -1;
}

}  // namespace

std::string why_unused(const std::string& tensor, const model::Architecture& architecture) {
  if (ends_with_any(tensor, {".inv_freq", ".cos_cached", ".sin_cached", ".masked_bias", ".attn.bias", ".attention.bias",
                             "position_ids", "num_batches_tracked"})) {
    return "";
  }
  if (has_part(tensor, {"mtp", "nextn"})) return "it predicts several tokens at once, which is not built";
  if (has_part(tensor, {"visual", "vision", "image", "audio", "multi_modal", "mm_projector", "vit"})) {
    return "it belongs to a part for images or sound; only the language model is used";
  }
  if (has_part(tensor, {"lora_"})) return "it belongs to an adapter, which is no part of a base model";
  if (layer_of(tensor) >= architecture.layer_count()) {
    const bool predicts = architecture.raw.contains("num_nextn_predict_layers");
    return fmt::format("config.json's num_hidden_layers is {}{}", architecture.layer_count(),
                       predicts ? "; layers that predict several tokens are not used" : "");
  }
  if (ends_with_any(tensor, {".q_norm.weight", ".k_norm.weight"})) {
    return fmt::format("model type '{}' has no norms of queries and keys", architecture.family);
  }
  if (tensor.ends_with(".bias")) {
    return fmt::format("model type '{}' has no bias there with this config.json", architecture.family);
  }
  if (has_part(tensor, {"score", "classifier", "v_head", "value_head", "reward"})) {
    return "it is a head for another task";
  }
  return fmt::format("model type '{}' has no use for it with this config.json", architecture.family);
}

}  // namespace lorica::engine
