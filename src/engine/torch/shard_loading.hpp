// Loading a model into shards: each process reads and quantizes its share of the groups, and sends the others theirs.
#pragma once

#include <vector>

#include "engine/torch/block_loader.hpp"
#include "engine/torch/sharded_store.hpp"
#include "parallel/mesh.hpp"

namespace lorica::engine {

/// This process's shards of `groups`. Collective over `stage` (all data-parallel processes of a pipeline stage, by data
/// rank). The checkpoint is read once in total, as many groups at a time as there are processes; none ever holds more
/// than one group whole. `share` false: each process reads everything and keeps its part, without talking to others.
/// `loader` loads into host memory; the shards are moved to `device`.
std::vector<ShardedGroup> load_shards(BlockLoader& loader, const std::vector<ParameterGroup>& groups,
                                      const parallel::Mesh& mesh, parallel::ProcessGroup& stage, bool share,
                                      at::Device device);

}  // namespace lorica::engine
