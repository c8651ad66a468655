// Stands in for gloo_group.cpp where Gloo's headers are missing.
#include "base/error.hpp"
#include "parallel/gloo_group.hpp"

namespace lorica::parallel {

c10::intrusive_ptr<c10d::Backend> make_gloo_group(const c10::intrusive_ptr<c10d::Store>&, int, int,
                                                  const std::string&) {
  throw ConfigError(
      "this build can't run several processes: Gloo's headers were missing when it was built. Install libgloo-dev and "
      "build again, or run with --world_size 1");
}

bool has_gloo() {
  return false;
}

}  // namespace lorica::parallel
