// Gradients of trained parameters on their way from the block that made them to the process that updates them: summed
// over the processes, each of which keeps its own rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <optional>
#include <vector>

#include "parallel/process_group.hpp"
#include "parallel/shard_layout.hpp"

namespace lorica::engine {

struct TrainedTensor {
  std::vector<std::int64_t> shape;  ///< of the whole; cut by dimension 0
  at::ScalarType dtype;
};

class GradientReducer {
 public:
  /// `shards`: those that hold the other parts; `replicas`: those that hold the same part. Gradients travel in `dtype`,
  /// or in their own where all of a group agree.
  GradientReducer(parallel::ProcessGroup& shards, parallel::ProcessGroup& replicas, std::optional<at::ScalarType> dtype,
                  at::Device device)
      : shards_(shards), replicas_(replicas), dtype_(dtype), device_(device) {}

  /// Tensors that are reduced together; returns the group's number.
  std::size_t add_group(std::vector<TrainedTensor> tensors);
  /// Adds to this process's gradient of the whole tensor, not reduced yet.
  void add(std::size_t group, std::size_t tensor, at::Tensor gradient);
  /// Starts to sum what was added over all processes, into the local parts. Collective.
  void reduce(std::size_t group);
  /// Returns when everything that was started is done.
  void finish();

  /// The reduced gradient of this process's rows; undefined if nothing was reduced since clear().
  const at::Tensor& local(std::size_t group, std::size_t tensor) const { return groups_[group].local[tensor]; }
  void set_local(std::size_t group, std::size_t tensor, at::Tensor gradient);
  void clear();
  std::uint64_t bytes() const;

 private:
  struct Group {
    std::vector<TrainedTensor> tensors;
    at::ScalarType dtype = at::kFloat;
    parallel::ShardLayout layout;
    std::vector<at::Tensor> whole, local;
  };
  /// First the sum over shards (each process gets its part), then over replicas.
  struct Flight {
    std::size_t group;
    at::Tensor all, mine;
    parallel::Pending pending;
    bool over_replicas = false, done = false;
  };
  at::Tensor flatten(const Group& group) const;
  void advance(Flight& flight);
  void accumulate(const Flight& flight);

  parallel::ProcessGroup& shards_;
  parallel::ProcessGroup& replicas_;
  std::optional<at::ScalarType> dtype_;
  at::Device device_;  // of all gradients
  std::vector<Group> groups_;
  std::deque<Flight> flights_;
};

}  // namespace lorica::engine
