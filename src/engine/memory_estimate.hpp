// How much memory a run will need, from shapes alone: asked before anything is loaded.
#pragma once

#include <cstdint>

#include "config/config.hpp"
#include "data/micro_batch.hpp"

namespace lorica::engine {

/// Bytes at the peak, by purpose. Everything is of one process on one device.
struct MemoryEstimate {
  std::uint64_t weights = 0;      ///< frozen, as stored
  std::uint64_t trained = 0;      ///< trained tensors
  std::uint64_t gradients = 0;    ///< of them
  std::uint64_t optimizer = 0;    ///< its state
  std::uint64_t activations = 0;  ///< kept between forward and backward, and one block's at work
  std::uint64_t loss = 0;         ///< the chunked loss's scratch, and a trained head's gradient on its way
  std::uint64_t base = 0;         ///< the program, its libraries and its threads
  std::uint64_t total() const { return weights + trained + gradients + optimizer + activations + loss + base; }
};

/// For training with `config` where the heaviest micro-batch has `tokens` tokens. Reads config.json only.
MemoryEstimate estimate_memory(const config::Config& config, std::int64_t tokens);

/// Throws DeviceError if the estimate for `heaviest` exceeds what this machine has free: says what is needed, what is
/// there, and the first change that would make it fit. Does nothing with check_memory = false or on another device than
/// the CPU.
void check_memory(const config::Config& config, const data::MicroBatch& heaviest);

}  // namespace lorica::engine
