// What travels between the parts of a model in different pipeline stages: activations forward, gradients backward.
// Shapes are known on both sides, so only the tensors' values travel.
#pragma once

#include <deque>
#include <map>
#include <string_view>

#include "parallel/pipeline_schedule.hpp"
#include "parallel/process_group.hpp"

namespace lorica::engine {

/// Part p of the model is chunk p ÷ stages of stage p mod stages.
class PipelineChannel {
 public:
  /// To `part`: the activation that enters it (forward), or the gradient of the one that left it (backward).
  struct Message {
    parallel::Action::Kind kind;
    int part, micro_batch;
    auto operator<=>(const Message&) const = default;
  };

  /// For one pass over all micro-batches of a step. `group`: the pipeline's stages by rank; null with one stage.
  /// `schedule` must outlive it. `device`: where tensors are.
  PipelineChannel(parallel::ProcessGroup* group, const parallel::Schedule& schedule, int stage, at::Device device);

  /// Starts to receive into `buffer`, so that the message arrives while something else is computed.
  void expect(const Message& message, at::Tensor buffer);
  /// Waits for an expected message.
  at::Tensor receive(const Message& message);
  /// Starts to send; the tensor is kept until it is gone.
  void send(const Message& message, at::Tensor tensor);
  /// Waits until an activation that was sent has left; does nothing if none was.
  void settle(const Message& message);
  /// Waits until everything that was sent has left.
  void flush();
  /// The first stage is the last one to finish a step's backward passes. It tells the others, who wait for it: only so
  /// is it known how long they have been idle. (They meet right afterwards anyway, for the norm of the gradients.)
  void announce_end();
  void await_end();

  double waited() const { return waited_; }  ///< seconds

 private:
  struct Expected {
    at::Tensor buffer;
    parallel::Pending pending;
  };
  int stage_of(const Message& message) const { return message.part % schedule_.stages; }
  int tag_of(const Message& message) const;
  void wait(parallel::Pending& pending, std::string_view what);

  parallel::ProcessGroup* group_;
  const parallel::Schedule& schedule_;
  int stage_;
  at::Device device_;
  std::map<Message, Expected> expected_;
  std::map<Message, at::Tensor> local_;               ///< between two chunks of one stage, if there is but one
  std::map<Message, parallel::Pending> activations_;  ///< sent
  std::deque<parallel::Pending> gradients_;           ///< sent, oldest first
  std::vector<parallel::Pending> ends_;               ///< sent
  std::size_t most_gradients_;
  double waited_ = 0;
};

}  // namespace lorica::engine
