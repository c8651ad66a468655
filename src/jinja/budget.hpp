// What a rendering may use up. Counted, not timed: the same template with the same input always ends in the same way.
#pragma once

#include <cstdint>

#include "jinja/error.hpp"

namespace lorica::jinja {

struct Limits {
  std::uint64_t steps = 10'000'000;      ///< expressions and statements evaluated, elements and 64-byte pieces touched
  std::uint64_t memory = 256ULL << 20U;  ///< bytes of all values made while rendering, freed ones included
  std::uint64_t output = 64ULL << 20U;   ///< bytes of the rendered text
  int depth = 1000;                      ///< nested evaluations: macros that call themselves, expressions in each other
};

class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits) {}

  void step(std::uint64_t count = 1) {
    steps_ += count;
    if (steps_ > limits_.steps) fail(Fault::limit, "the template takes more than {} steps", limits_.steps);
  }
  /// Before `bytes` are allocated.
  void memory(std::uint64_t bytes) {
    if (bytes > limits_.memory || (memory_ += bytes) > limits_.memory)
      fail(Fault::limit, "the template makes more than {} bytes of values", limits_.memory);
    step(bytes / 64);
  }
  void output(std::uint64_t bytes) const {
    if (bytes > limits_.output) fail(Fault::limit, "the rendered text is larger than {} bytes", limits_.output);
  }

  /// One level deeper for as long as it lives.
  class Level {
   public:
    explicit Level(Budget& budget) : budget_(budget) {
      if (++budget_.depth_ > budget_.limits_.depth) {
        --budget_.depth_;
        fail(Fault::limit, "the template nests deeper than {} levels (maximum recursion depth)", budget_.limits_.depth);
      }
    }
    ~Level() { --budget_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Budget& budget_;
  };

 private:
  Limits limits_;
  std::uint64_t steps_ = 0, memory_ = 0;
  int depth_ = 0;
};

}  // namespace lorica::jinja
