#include "io/saved_config.hpp"

#include <string>

#include "io/plain_name.hpp"

namespace lorica::io {

nlohmann::ordered_json config_for_saved(nlohmann::ordered_json base, Dtype dtype, bool ties) {
  const std::string name(plain_name(dtype));
  bool named = false;
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (!base.contains(key)) continue;
    base[key] = name;
    named = true;
  }
  if (!named) base["torch_dtype"] = name;
  base.erase("quantization_config");
  if (base.contains("tie_word_embeddings")) base["tie_word_embeddings"] = ties;
  return base;
}

}  // namespace lorica::io
