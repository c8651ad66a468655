// The process-wide choice of kernel implementation.
#include "kernels/mode.hpp"

#include <atomic>

#include "base/error.hpp"
#include "base/machine.hpp"

namespace lorica::kernels {
namespace {
std::atomic<KernelMode> chosen{KernelMode::automatic};
}  // namespace

void set_kernel_mode(KernelMode mode) {
  const auto& cpu = cpu_features();
  if (mode == KernelMode::avx2 && !cpu.avx2) {
    raise<DeviceError>("the AVX2 kernels were asked for, but this CPU ({}) has no AVX2 with FMA: use --kernels auto",
                       cpu_name());
  }
  if (mode == KernelMode::avx512 && !cpu.avx512) {
    raise<DeviceError>("the AVX-512 kernels were asked for, but this CPU ({}) has no AVX-512: use --kernels auto",
                       cpu_name());
  }
  chosen = mode;
}

KernelMode kernel_mode() {
  return chosen;
}

InstructionSet instruction_set() {
  switch (chosen.load()) {
    case KernelMode::reference:
      return InstructionSet::reference;
    case KernelMode::avx2:
      return InstructionSet::avx2;
    case KernelMode::avx512:
      return InstructionSet::avx512;
    case KernelMode::automatic:
      break;
  }
  const auto& cpu = cpu_features();
  if (cpu.avx512 && cpu.avx2) return InstructionSet::avx512;
  return cpu.avx2 ? InstructionSet::avx2 : InstructionSet::reference;
}

std::string_view instruction_set_name(InstructionSet set) {
  return set == InstructionSet::avx512 ? "AVX-512" : set == InstructionSet::avx2 ? "AVX2" : "reference";
}

}  // namespace lorica::kernels
