// config.json beside weights that we wrote: derived from the base model's by what was written.
#pragma once

#include <nlohmann/json.hpp>

#include "io/dtype.hpp"

namespace lorica::io {

/// `base`, a model's config.json, for plain weights that are mostly of `dtype`: "dtype" and "torch_dtype" (transformers
/// 5's and 4's name of it) say that, whichever is there, torch_dtype if none is, for both programs read it; no
/// "quantization_config"; "tie_word_embeddings", if it is there, is `ties`: whether embedding and head were one tensor
/// when the model ran. All other keys stay as they are, in their order.
nlohmann::ordered_json config_for_saved(nlohmann::ordered_json base, Dtype dtype, bool ties);

}  // namespace lorica::io
