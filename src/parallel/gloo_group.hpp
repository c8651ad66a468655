// c10d's Gloo process group. Its header needs Gloo's own, which the torch wheel leaves out, so one small file includes
// it; a build without them has gloo_group_absent.cpp instead.
#pragma once

#include <string>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace lorica::parallel {

/// Collective. Listens at `address`, or at the interface that GLOO_SOCKET_IFNAME names. Its operations have no time
/// limit: that a process is gone is noticed by World's watch and by closed connections, and a slow one may be slow.
c10::intrusive_ptr<c10d::Backend> make_gloo_group(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                                  const std::string& address);

/// Whether this build has Gloo.
bool has_gloo();

}  // namespace lorica::parallel
