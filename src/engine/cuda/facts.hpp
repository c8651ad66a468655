// What this machine's NVIDIA driver and devices are. Free of CUDA's own headers: a build without CUDA has absent.cpp,
// where there is nothing.
#pragma once

#include <string>
#include <vector>

namespace lorica::engine::cuda {

struct Device {
  std::string name;          ///< "NVIDIA H200"
  int major = 0, minor = 0;  ///< compute capability
};

struct Facts {
  bool built = false;           ///< this program can use CUDA
  int driver = 0, runtime = 0;  ///< newest CUDA that the driver runs, and the one built with: 13000 is 13.0; 0: none
  std::vector<Device> devices;  ///< those that CUDA_VISIBLE_DEVICES shows, by number
  std::string failure;          ///< CUDA's words on why there are none
};

/// Read anew with each call; takes no memory on a device.
Facts read_facts();

/// Tells devices apart, on whichever number processes see them: the device's own UUID.
std::string identity(int device);

/// Starts CUDA, with this device as the calling thread's. Products of float32 are made in float32, not in TF32.
void start(int device);

}  // namespace lorica::engine::cuda
