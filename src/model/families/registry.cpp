// The table of model families: one row each.
#include "model/families/family.hpp"

namespace lorica::model {

const std::vector<Family>& families() {
  // clang-format off
  static const std::vector<Family> table{
      llama_family(),
      mistral_family(),
      qwen2_family(),
      qwen3_family(),
      phi3_family(),
      gemma2_family(),
  };
  // clang-format on
  return table;
}

}  // namespace lorica::model
