// Named spans of work for code without LibTorch, and the names by which a recording's spans are told apart.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

namespace lorica::engine {

/// From construction to destruction; see model/scope.hpp.
class Scope {
 public:
  explicit Scope(std::string_view name);
  Scope(std::string_view name, std::int64_t number);  ///< "step 12"
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What the spans of a step are called; those of blocks end so ("layer 3: forward").
namespace scopes {
inline constexpr std::string_view kStep = "step", kData = "data", kMeet = "agree with other processes",
                                  kMetrics = "metrics", kEvaluation = "evaluation", kCheckpoint = "checkpoint";
inline constexpr std::string_view kForward = ": forward", kBackward = ": backward", kRecompute = ": recomputation";
inline constexpr std::string_view kHead = "head and loss", kOptimizer = "optimizer", kGradientNorm = "gradient norm";
inline constexpr std::string_view kGather = "gather parameters", kAwaitGather = "wait for parameters",
                                  kReduce = "reduce gradients", kAwaitReduce = "wait for gradients";
inline constexpr std::string_view kSend = "send", kAwaitSend = "wait until sent", kExpect = "start to receive",
                                  kReceive = "wait to receive", kAwaitStages = "wait for other stages";
}  // namespace scopes

}  // namespace lorica::engine
