// Host memory for tensors, so that what a process occupies is what its tensors need.
//
// malloc keeps large freed pieces in its heap, where tensors of other sizes don't fit: measured, 15 to 35 % more than
// the tensors that live at the peak, differing from run to run. Mapping each tensor anew would cost a page fault for
// every 4 KiB, up to a fifth of a small model's step. So freed tensors are kept for the next one of their size, and
// given up where the process would otherwise grow.
#pragma once

#include <cstdint>

namespace lorica::engine {

struct HostMemory {
  std::uint64_t live = 0;    ///< bytes of tensors of 128 KiB or more, in whole pages
  std::uint64_t kept = 0;    ///< freed, kept for the next one
  std::uint64_t peak = 0;    ///< largest live so far
  std::uint64_t mapped = 0;  ///< largest live + kept so far
};

/// From now on, LibTorch's tensors in host memory are made here. The second call does nothing. Peak of live + kept
/// exceeds the peak of live by an eighth at most (a piece may serve for a size up to that much smaller).
void use_host_allocator();

HostMemory host_memory();

}  // namespace lorica::engine
