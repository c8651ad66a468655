// Failures of a device in the middle of a run, as errors of ours that say what to do.
#pragma once

#include <c10/util/Exception.h>

#include "config/config.hpp"

namespace lorica::engine {

/// Where it happened.
struct DeviceUse {
  const config::Config* config = nullptr;
  c10::Device device = c10::kCPU;
  const char* activity = "";  ///< "training a micro-batch", …
  std::int64_t tokens = 0;    ///< of the heaviest micro-batch at hand; 0: none
};

[[noreturn]] void raise_out_of_memory(const DeviceUse& use, const c10::Error& error);
[[noreturn]] void raise_lost_device(const DeviceUse& use, const c10::Error& error);

/// body(). Out of memory is a DeviceError that names what would fit, for the plan knows; so is a device that fails.
template <class Body>
auto on_device(const DeviceUse& use, const Body& body) {
  try {
    return body();
  } catch (const c10::OutOfMemoryError& error) {
    raise_out_of_memory(use, error);
  } catch (const c10::AcceleratorError& error) {
    raise_lost_device(use, error);
  }
}

}  // namespace lorica::engine
