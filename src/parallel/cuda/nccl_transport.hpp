// Collectives and messages among CUDA devices, over c10d's NCCL process group. A build without NCCL has absent.cpp.
#pragma once

#include <memory>

#include <torch/csrc/distributed/c10d/Store.hpp>

#include "parallel/transport.hpp"

namespace lorica::parallel {

/// Whether this build has NCCL.
bool has_nccl();

/// Tensors are on the current CUDA device; each process needs one of its own. Waiting for an operation makes the
/// current stream wait, not the caller. A group of one works, too.
std::unique_ptr<Transport> make_nccl_transport(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size);

}  // namespace lorica::parallel
