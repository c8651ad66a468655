// Collectives and messages among some processes of a run, over c10d's process groups: Gloo for host memory, NCCL
// between CUDA devices. Every operation is counted.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/world.hpp"

namespace lorica::parallel {

class Transport;

/// An operation under way. It keeps its tensors alive. Movable; destroying one that wasn't waited for waits, unless an
/// exception is the reason.
class Pending {
 public:
  Pending() = default;
  explicit Pending(std::function<void()> wait) : wait_(std::move(wait)) {}
  Pending(Pending&& other) noexcept;
  Pending& operator=(Pending&& other) noexcept;
  ~Pending();
  /// Returns when the result is there. Throws PeerError if the operation failed. Does nothing the second time.
  void wait();
  bool running() const { return static_cast<bool>(wait_); }

 private:
  void finish_quietly() noexcept;
  std::function<void()> wait_;
};

/// Bytes that this process sent: an all-gather of S bytes each over N processes sends (N−1)·S, a reduce-scatter of S
/// bytes to each (N−1)·S, an all-reduce of S bytes 2·(N−1)/N·S.
struct Traffic {
  std::uint64_t gathered = 0, reduced = 0, messages = 0;  ///< all-gathers; reductions; all the rest
  std::uint64_t total() const { return gathered + reduced + messages; }
};

class ProcessGroup {
 public:
  /// Collective over `ranks` (ascending ranks of the world; this process among them). `name` is the same for all of
  /// them and unique. A group of one does everything without talking to anybody. Operations of one group run in the
  /// order in which they were started; those of different groups overlap. Tensors are on `device`; those of a GPU go
  /// over NCCL if `nccl` says so (every process needs a device of its own then), else through host memory.
  ProcessGroup(World& world, const std::string& name, const std::vector<int>& ranks, at::Device device,
               bool nccl = false);
  ~ProcessGroup();

  int rank() const { return rank_; }  ///< within the group
  int size() const { return static_cast<int>(ranks_.size()); }
  const std::vector<int>& ranks() const { return ranks_; }

  /// out [size · n] = everybody's in [n], by rank. Any dtype, contiguous.
  Pending all_gather(at::Tensor out, at::Tensor in);
  /// in [size · n]; out [n] = Σ over processes of their slice for this rank, added up in float32 in the order of ranks
  /// (so that the result doesn't depend on timing), rounded once to out's dtype.
  Pending reduce_scatter(at::Tensor out, at::Tensor in);
  /// tensor = Σ over processes; the same bits everywhere.
  Pending all_reduce(at::Tensor tensor);
  /// Slice r of `in` (in_sizes[r] elements) goes to rank r; `out` receives out_sizes[r] elements from rank r, one after
  /// the other. One-dimensional.
  Pending all_to_all(at::Tensor out, at::Tensor in, const std::vector<std::int64_t>& out_sizes,
                     const std::vector<std::int64_t>& in_sizes);
  Pending broadcast(at::Tensor tensor, int root);
  /// Messages are matched by (sender, tag); equal tags by order.
  Pending send(at::Tensor tensor, int to, int tag);
  Pending receive(at::Tensor tensor, int from, int tag);

  const Traffic& traffic() const { return traffic_; }

 private:
  std::unique_ptr<Transport> make_transport(at::Device device, bool nccl);
  template <class Start>
  Pending started(const Start& start);

  World& world_;
  std::string name_;
  std::vector<int> ranks_;
  int rank_ = 0;
  std::unique_ptr<Transport> transport_;  // null in a group of one
  Traffic traffic_;
};

}  // namespace lorica::parallel
