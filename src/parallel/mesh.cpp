#include "parallel/mesh.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace lorica::parallel {
namespace {

bool is_hybrid(config::Sharding strategy) {
  return strategy == config::Sharding::hybrid_full_shard || strategy == config::Sharding::hybrid_shard_grad_op;
}

}  // namespace

int Mesh::world_rank(int of_stage, int of_data_rank) const {
  return column_major ? of_data_rank * stages + of_stage : of_stage * data_parallel() + of_data_rank;
}

std::vector<int> Mesh::shard_group() const {
  std::vector<int> ranks;
  for (int s = 0; s < shards; ++s) ranks.push_back(world_rank(stage, replica * shards + s));
  return ranks;
}

std::vector<int> Mesh::replica_group() const {
  std::vector<int> ranks;
  for (int r = 0; r < replicas; ++r) ranks.push_back(world_rank(stage, r * shards + shard));
  return ranks;
}

std::vector<int> Mesh::stage_group() const {
  std::vector<int> ranks;
  for (int d = 0; d < data_parallel(); ++d) ranks.push_back(world_rank(stage, d));
  return ranks;
}

std::vector<int> Mesh::pipeline_group() const {
  std::vector<int> ranks;
  for (int s = 0; s < stages; ++s) ranks.push_back(world_rank(s, data_rank()));
  return ranks;
}

Mesh make_mesh(const config::Config& config, const Place& place) {
  Mesh mesh;
  mesh.stages = static_cast<int>(config.pipeline_stages);
  if (place.world % mesh.stages != 0) {
    raise<ConfigError>("pipeline_stages: {} stages don't divide {} processes", mesh.stages, place.world);
  }
  const int data_parallel = place.world / mesh.stages;
  mesh.column_major = config.use_column_major_topology;
  mesh.reshard_after_forward = config.sharding_strategy == config::Sharding::full_shard ||
                               config.sharding_strategy == config::Sharding::hybrid_full_shard;
  if (config.sharding_strategy == config::Sharding::ddp) {
    mesh.shards = 1;
  } else if (is_hybrid(config.sharding_strategy)) {
    // A node's processes: those of them that are of one stage.
    const int of_node = mesh.column_major ? std::max(1, place.local_world / mesh.stages) : place.local_world;
    const int wanted = config.hybrid_shard_size > 0 ? static_cast<int>(config.hybrid_shard_size) : of_node;
    mesh.shards = config.hybrid_shard_size > 0 ? wanted : std::min(wanted, data_parallel);
    if (mesh.shards > data_parallel || data_parallel % mesh.shards != 0) {
      raise<ConfigError>(
          "hybrid sharding: copies of {} processes each don't divide the {} data-parallel ones; give "
          "--hybrid_shard_size",
          mesh.shards, data_parallel);
    }
  } else {
    mesh.shards = data_parallel;
  }
  mesh.replicas = data_parallel / mesh.shards;
  mesh.stage = mesh.column_major ? place.rank % mesh.stages : place.rank / data_parallel;
  const int d = mesh.column_major ? place.rank / mesh.stages : place.rank % data_parallel;
  mesh.replica = d / mesh.shards;
  mesh.shard = d % mesh.shards;
  return mesh;
}

}  // namespace lorica::parallel
