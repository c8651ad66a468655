// The kernels of every instruction set that this machine has, one after the other.
#pragma once

#include <vector>

#include "base/machine.hpp"
#include "kernels/mode.hpp"

namespace lorica::kernels {

/// Whatever a test sets, the next one finds the default.
struct ModeGuard {
  ~ModeGuard() { set_kernel_mode(KernelMode::automatic); }
};

inline std::vector<KernelMode> all_modes() {
  std::vector<KernelMode> modes{KernelMode::reference};
  if (cpu_features().avx2) modes.push_back(KernelMode::avx2);
  if (cpu_features().avx512) modes.push_back(KernelMode::avx512);
  return modes;
}

}  // namespace lorica::kernels
