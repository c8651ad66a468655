// Which implementation of the kernels runs: the fastest that this CPU has, or a chosen one.
#pragma once

#include <string_view>

namespace lorica::kernels {

/// `automatic` is the fastest set that the CPU has; the others force one (`reference` is `--kernels reference`).
enum class KernelMode { automatic, reference, avx2, avx512 };

/// Sets it for the whole process; call it before kernels run. Throws DeviceError if the CPU lacks the instruction set.
void set_kernel_mode(KernelMode mode);
KernelMode kernel_mode();

/// What runs now.
enum class InstructionSet { reference, avx2, avx512 };
InstructionSet instruction_set();
std::string_view instruction_set_name(InstructionSet set);

/// Whether kernels are used at all: this CPU has instructions that they are written for, and nobody turned them off.
inline bool has_kernels() {
  return instruction_set() != InstructionSet::reference;
}

/// Of implementations of one thing, the one for instruction_set().
template <class T>
const T& choose(const T& reference, const T& avx2, const T& avx512) {
  const auto set = instruction_set();
  return set == InstructionSet::avx512 ? avx512 : set == InstructionSet::avx2 ? avx2 : reference;
}

}  // namespace lorica::kernels
