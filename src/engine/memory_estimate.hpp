// How much memory a run will need, from shapes alone: asked before anything is loaded.
#pragma once

#include <cstdint>
#include <string>

#include "config/config.hpp"

namespace lorica::engine {

/// Bytes of one process at the instant when it holds most, by purpose.
struct MemoryEstimate {
  std::uint64_t weights = 0;        ///< frozen, as stored; this process's shards
  std::uint64_t trained = 0;        ///< trained tensors; its shards
  std::uint64_t gradients = 0;      ///< of them
  std::uint64_t optimizer = 0;      ///< its state, and what an update needs beside it
  std::uint64_t gathered = 0;       ///< parameters of whole blocks, at work or on their way
  std::uint64_t activations = 0;    ///< kept between forward and backward, and one block's at work
  std::uint64_t loss = 0;           ///< the chunked loss's scratch, and a trained head's gradient on its way
  std::uint64_t communication = 0;  ///< gradients between processes
  std::uint64_t loading = 0;        ///< a tensor's source beside what is made of it
  std::uint64_t base = 0;           ///< the program, its libraries and its threads
  std::uint64_t host = 0;           ///< use_cpu_offload on a GPU: what waits in host memory instead (not in total())
  std::string instant;              ///< "loss", "backward of a layer", …
  std::uint64_t total() const {
    return weights + trained + gradients + optimizer + gathered + activations + loss + communication + loading + base;
  }
};

/// Before the data are read: throws DeviceError or ConfigError for a device that isn't there, ModelError or FileError
/// for a model folder whose config.json can't be used, and DeviceError if not even a micro-batch of one token for each
/// sequence fits (check_memory). Returns whether full ones do, batch_size × context_length tokens: then nothing that
/// the data hold can be too much.
bool check_start(const config::Config& config);

/// Throws DeviceError if what the plan foresees for micro-batches of up to `tokens` tokens, `eval_tokens` in
/// evaluations (0: none), exceeds what this machine has free for its processes: says what is needed, what is there, and
/// the first change that would make it fit, by the plan's own search. Does nothing with check_memory = false or on
/// another device than the CPU.
void check_memory(const config::Config& config, std::int64_t tokens, std::int64_t eval_tokens = 0);

}  // namespace lorica::engine
