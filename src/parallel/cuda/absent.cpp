// Stands in for nccl_transport.cpp in a build without NCCL.
#include "base/error.hpp"
#include "parallel/cuda/nccl_transport.hpp"

namespace lorica::parallel {

bool has_nccl() {
  return false;
}

std::unique_ptr<Transport> make_nccl_transport(const c10::intrusive_ptr<c10d::Store>&, int, int) {
  throw Error("internal error: this build has no NCCL");
}

}  // namespace lorica::parallel
