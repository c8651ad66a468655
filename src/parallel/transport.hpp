// What a process group's operations are made of, on one kind of memory. Inside parallel/ only.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel/process_group.hpp"

namespace lorica::parallel {

/// An operation failed because the connection to a process of the group did. −1: nobody knows to which.
struct LostPeer : std::runtime_error {
  LostPeer(int rank_in_group, const std::string& why) : std::runtime_error(why), peer(rank_in_group) {}
  int peer;
};

/// The operations of ProcessGroup among at least two processes: tensors are flat, contiguous and of the right sizes.
/// Starting one and waiting for one may throw LostPeer.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual Pending all_gather(at::Tensor out, at::Tensor in) = 0;
  virtual Pending reduce_scatter(at::Tensor out, at::Tensor in) = 0;
  virtual Pending all_reduce(at::Tensor tensor) = 0;
  virtual Pending all_to_all(at::Tensor out, at::Tensor in, const std::vector<std::int64_t>& out_sizes,
                             const std::vector<std::int64_t>& in_sizes) = 0;
  virtual Pending broadcast(at::Tensor tensor, int root) = 0;
  virtual Pending send(at::Tensor tensor, int to, int tag) = 0;
  virtual Pending receive(at::Tensor tensor, int from, int tag) = 0;
};

/// Over Gloo, for host memory. Collective; throws ConfigError if this build has no Gloo.
std::unique_ptr<Transport> make_host_transport(World& world, const std::string& name, int rank, int size);

/// Tensors of any device over `host`, by way of host memory. Reads and writes them with the current stream.
std::unique_ptr<Transport> make_staged_transport(std::unique_ptr<Transport> host);

/// Elements [0, size) dealt to `count` processes: process r has [r·size/count, (r+1)·size/count).
inline std::int64_t slice_begin(std::int64_t size, int count, int process) {
  return size / count * process + size % count * process / count;
}

}  // namespace lorica::parallel
