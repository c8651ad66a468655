// How the processes of a run divide the work: pipeline stages × copies × shards. Free of Torch.
#pragma once

#include <vector>

#include "config/config.hpp"
#include "parallel/place.hpp"

namespace lorica::parallel {

/// A process's place in the grid. world = stages · data_parallel; data_parallel = replicas · shards. The processes of
/// one stage are its data-parallel ranks 0 … data_parallel−1; rank d is shard d mod shards of replica d ÷ shards. World
/// rank = stage · data_parallel + d, or d · stages + stage with use_column_major_topology.
struct Mesh {
  int stages = 1, replicas = 1, shards = 1;
  int stage = 0, replica = 0, shard = 0;
  bool column_major = false;
  bool reshard_after_forward = true;  ///< full_shard, hybrid_full_shard

  int data_parallel() const { return replicas * shards; }
  int data_rank() const { return replica * shards + shard; }
  int world_rank(int of_stage, int of_data_rank) const;
  /// World ranks, ascending: those that hold the other shards of this process's copy; those that hold the same shard in
  /// other copies; the whole stage; this process's pipeline (one process of each stage, in the order of stages).
  std::vector<int> shard_group() const, replica_group() const, stage_group() const, pipeline_group() const;
};

/// Throws ConfigError when stages don't divide the processes, or hybrid_shard_size (or a node's processes) doesn't
/// divide the data-parallel ones.
Mesh make_mesh(const config::Config& config, const Place& place);

}  // namespace lorica::parallel
