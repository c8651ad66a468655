// Stands in for the other files of this folder in a build without CUDA: no driver, no devices.
#include "base/error.hpp"
#include "engine/cuda/facts.hpp"
#include "engine/cuda/memory.hpp"

namespace lorica::engine::cuda {
namespace {

[[noreturn]] void not_built() {
  throw Error("internal error: this build has no CUDA");
}

}  // namespace

Facts read_facts() {
  return {};
}

std::string identity(int) {
  not_built();
}

void start(int) {
  not_built();
}

DeviceMemory device_memory(int) {
  not_built();
}

void keep_memory_history(bool) {
  not_built();
}

std::string memory_history() {
  not_built();
}

void limit_memory(int, std::uint64_t) {
  not_built();
}

}  // namespace lorica::engine::cuda
