#include "base/machine.hpp"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace lorica {
namespace {

/// The number after `key` in a "key: value kB" file of /proc, in bytes; 0 if absent.
std::uint64_t proc_kilobytes(const char* file, const std::string& key) {
  std::ifstream input(file);
  for (std::string line; std::getline(input, line);) {
    if (line.rfind(key, 0) == 0) {
      std::istringstream fields(line.substr(key.size()));
      std::uint64_t kilobytes = 0;
      fields >> kilobytes;
      return kilobytes * 1024;
    }
  }
  return 0;
}

/// A number from a one-word file of the cgroup file system; 0 if absent or "max".
std::uint64_t cgroup_number(const char* file) {
  std::ifstream input(file);
  std::uint64_t value = 0;
  input >> value;
  return value;
}

CpuFeatures detect() {
  CpuFeatures features;
#if defined(__x86_64__)
  __builtin_cpu_init();
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  features.avx512 = features.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  features.avx512_bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
  features.amx_bf16 = features.avx512 && __builtin_cpu_supports("amx-bf16");
#endif
  return features;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

std::string cpu_name() {
  std::ifstream input("/proc/cpuinfo");
  for (std::string line; std::getline(input, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

int available_cores() {
  cpu_set_t set;
  int cores = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  if (::sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (quota_file >> quota >> period && period > 0) {
    cores = std::min(cores, std::max(1, static_cast<int>(quota / period + 0.5)));
  }
  return std::max(1, cores);
}

MemoryFigures machine_memory() {
  MemoryFigures figures{proc_kilobytes("/proc/meminfo", "MemTotal:"), proc_kilobytes("/proc/meminfo", "MemAvailable:")};
  if (const auto limit = cgroup_number("/sys/fs/cgroup/memory.max"); limit > 0 && limit < figures.total) {
    const auto used = cgroup_number("/sys/fs/cgroup/memory.current");
    figures.total = limit;
    figures.available = std::min(figures.available, limit > used ? limit - used : 0);
  }
  return figures;
}

std::uint64_t resident_bytes() {
  return proc_kilobytes("/proc/self/status", "VmRSS:");
}

std::uint64_t peak_resident_bytes() {
  if (const auto peak = proc_kilobytes("/proc/self/status", "VmHWM:")) return peak;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

double seconds_since_process_start() {
  std::ifstream input("/proc/self/stat");
  std::string line;
  std::getline(input, line);
  // Field 22, starttime, in clock ticks since boot (proc(5)). The second field is the program's name in parentheses,
  // which may hold spaces.
  const auto name_end = line.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double ticks = 0;
  timespec now{};
  if (!(fields >> ticks) || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  const double start = ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return std::max(0.0, static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9 - start);
}

}  // namespace lorica
