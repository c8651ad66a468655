// In which order each stage of a pipeline runs its parts of the model on the micro-batches of a step. Free of Torch.
//
// One-forward-one-backward: Narayanan et al., "PipeDream" (2019) and "Memory-Efficient Pipeline-Parallel DNN Training"
// (2021). Interleaved: Narayanan et al., "Efficient Large-Scale Language Model Training on GPU Clusters Using
// Megatron-LM" (2021).
#pragma once

#include <vector>

namespace lorica::parallel {

/// One chunk's pass over one micro-batch.
struct Action {
  enum class Kind { forward, backward };
  Kind kind = Kind::forward;
  int chunk = 0;  ///< of the stage; the model's parts in order are chunk 0 of all stages, chunk 1 of all stages, …
  int micro_batch = 0;
  bool operator==(const Action&) const = default;
};

struct Schedule {
  int stages = 1, chunks = 1, micro_batches = 0;
  std::vector<std::vector<Action>> actions;  ///< by stage, in the order of running
  /// The most micro-batches × chunks that are behind their forward and before their backward at once on that stage.
  int most_in_flight(int stage) const;
};

/// Training. With one chunk: 1F1B; at most stages − stage micro-batches are in flight. With several: interleaved. Any
/// number of micro-batches works; for every chunk, micro-batches are in ascending order forward and backward. Sends
/// needn't block: no order of these actions waits in a circle.
Schedule training_schedule(int stages, int chunks, int micro_batches);
/// Evaluation: forward only.
Schedule forward_schedule(int stages, int chunks, int micro_batches);

struct Simulation {
  double length = 0;         ///< time of the last stage to finish
  std::vector<double> idle;  ///< by stage: share of `length` in which it doesn't work
  double bubble = 0;         ///< mean of `idle`
};

/// Runs the schedule with these times of one chunk's pass, messages taking none. Throws Error (ours) if it can't end.
/// For 1F1B the bubble is (stages − 1) / (micro_batches + stages − 1), whatever the times.
Simulation simulate(const Schedule& schedule, double forward_time, double backward_time);

}  // namespace lorica::parallel
