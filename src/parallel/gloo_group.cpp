#include "parallel/gloo_group.hpp"

#include <chrono>
#include <cstdlib>

#include "base/strings.hpp"

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

namespace lorica::parallel {

c10::intrusive_ptr<c10d::Backend> make_gloo_group(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                                  const std::string& address) {
  using Gloo = c10d::ProcessGroupGloo;
  auto options = Gloo::Options::create(std::chrono::hours(24 * 30));
  options->threads = 1;
  // The name is Gloo's own, known to whoever runs programs on several machines.
  const char* interfaces = std::getenv("GLOO_SOCKET_IFNAME");
  if (interfaces != nullptr && *interfaces != '\0') {
    for (const auto& name : split(interfaces, ',')) options->devices.push_back(Gloo::createDeviceForInterface(name));
  } else {
    options->devices.push_back(Gloo::createDeviceForHostname(address));
  }
  return c10::make_intrusive<Gloo>(store, rank, size, options);
}

bool has_gloo() {
  return true;
}

}  // namespace lorica::parallel
