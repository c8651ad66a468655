// Linear layers as parts describe them.
#pragma once

#include "model/block_spec.hpp"

namespace lorica::model {

/// "<module>.weight" [out, in], and "<module>.bias" [out] if it has one.
inline void describe_linear(std::vector<ParameterSpec>& parameters, const std::string& module, int64_t out, int64_t in,
                            bool bias) {
  parameters.push_back({module + ".weight", "", {out, in}, Role::linear, false, 0});
  if (bias) parameters.push_back({module + ".bias", "", {out}, Role::bias, false, 0});
}

/// "self_attn.q_proj" and so on.
inline std::vector<std::string> modules_in(const std::string& part, const std::vector<std::string>& names) {
  std::vector<std::string> modules;
  for (const auto& name : names) modules.push_back(part + "." + name);
  return modules;
}

}  // namespace lorica::model
