#include "parallel/process_group.hpp"

namespace lorica::parallel {

struct ProcessGroup::Backend {};
ProcessGroup::~ProcessGroup() = default;

}  // namespace lorica::parallel
