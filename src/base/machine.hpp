// What this machine is: cores, memory, instruction sets; and what this process has used of it.
#pragma once

#include <cstdint>
#include <string>

namespace lorica {

/// Instruction sets of the CPU that we run on (all false on other architectures).
struct CpuFeatures {
  bool avx2 = false;         ///< AVX2 with FMA, F16C and BMI2
  bool avx512 = false;       ///< F, BW, DQ and VL
  bool avx512_bf16 = false;  ///< dot products of bfloat16
  bool amx_bf16 = false;     ///< tile products of bfloat16
};
const CpuFeatures& cpu_features();
std::string cpu_name();

/// Cores that this process may run on (its affinity mask and its cgroup's quota counted in).
int available_cores();

struct MemoryFigures {
  std::uint64_t total = 0;      ///< bytes of the machine, or of the cgroup if that is less
  std::uint64_t available = 0;  ///< bytes that can be had without swapping
};
MemoryFigures machine_memory();

/// Resident set size of this process in bytes: now, and the highest so far.
std::uint64_t resident_bytes();
std::uint64_t peak_resident_bytes();

/// Seconds since this process was started, to 10 ms: from before its libraries were loaded. 0 where the system doesn't
/// tell (no /proc).
double seconds_since_process_start();

}  // namespace lorica
