// SIGINT and SIGTERM as a request to finish the step, save and leave; a second one ends the process at once.
#pragma once

namespace lorica::train {

/// While it lives, the two signals set a flag instead of killing.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  bool requested() const;
};

}  // namespace lorica::train
