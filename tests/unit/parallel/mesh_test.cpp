// Who works with whom.
#include "parallel/mesh.hpp"

#include <gmock/gmock.h>

#include <set>

#include "base/error.hpp"

namespace lorica::parallel {
namespace {

using testing::ElementsAre;

Place place(int rank, int world, int local_world) {
  Place result;
  result.rank = rank;
  result.world = world;
  result.local_world = local_world;
  result.local_rank = rank % local_world;
  return result;
}

TEST(Mesh, StrategiesDivideTheCopies) {
  config::Config config;
  config.sharding_strategy = config::Sharding::full_shard;
  EXPECT_EQ(make_mesh(config, place(0, 4, 4)).shards, 4);
  EXPECT_TRUE(make_mesh(config, place(0, 4, 4)).reshard_after_forward);
  config.sharding_strategy = config::Sharding::shard_grad_op;
  EXPECT_EQ(make_mesh(config, place(0, 4, 4)).shards, 4);
  EXPECT_FALSE(make_mesh(config, place(0, 4, 4)).reshard_after_forward);
  config.sharding_strategy = config::Sharding::ddp;
  EXPECT_EQ(make_mesh(config, place(0, 4, 4)).replicas, 4);
  config.sharding_strategy = config::Sharding::hybrid_full_shard;
  const auto mesh = make_mesh(config, place(3, 4, 2));  // two nodes of two
  EXPECT_EQ(mesh.shards, 2);
  EXPECT_EQ(mesh.replicas, 2);
  EXPECT_THAT(mesh.shard_group(), ElementsAre(2, 3)) << "a node";
  EXPECT_THAT(mesh.replica_group(), ElementsAre(1, 3)) << "the same shard of both nodes";
  config.hybrid_shard_size = 4;
  EXPECT_EQ(make_mesh(config, place(3, 4, 2)).shards, 4);
}

TEST(Mesh, StagesAreNeighboursOnlyInColumnMajorOrder) {
  config::Config config;
  config.pipeline_stages = 2;
  auto mesh = make_mesh(config, place(1, 4, 4));
  EXPECT_EQ(mesh.stage, 0);
  EXPECT_EQ(mesh.data_rank(), 1);
  EXPECT_THAT(mesh.stage_group(), ElementsAre(0, 1));
  EXPECT_THAT(mesh.pipeline_group(), ElementsAre(1, 3));
  config.use_column_major_topology = true;
  mesh = make_mesh(config, place(1, 4, 4));
  EXPECT_EQ(mesh.stage, 1);
  EXPECT_EQ(mesh.data_rank(), 0);
  EXPECT_THAT(mesh.stage_group(), ElementsAre(1, 3));
  EXPECT_THAT(mesh.pipeline_group(), ElementsAre(0, 1));
}

TEST(Mesh, EveryRankHasOnePlaceAndGroupsAgree) {
  for (const bool column_major : {false, true}) {
    for (const auto strategy :
         {config::Sharding::full_shard, config::Sharding::ddp, config::Sharding::hybrid_full_shard}) {
      config::Config config;
      config.pipeline_stages = 2;
      config.sharding_strategy = strategy;
      config.hybrid_shard_size = 2;
      config.use_column_major_topology = column_major;
      std::set<std::vector<int>> places;
      for (int rank = 0; rank < 8; ++rank) {
        const auto mesh = make_mesh(config, place(rank, 8, 8));
        places.insert({mesh.stage, mesh.replica, mesh.shard});
        EXPECT_EQ(mesh.world_rank(mesh.stage, mesh.data_rank()), rank);
        for (const auto& group :
             {mesh.shard_group(), mesh.replica_group(), mesh.stage_group(), mesh.pipeline_group()}) {
          EXPECT_NE(std::find(group.begin(), group.end(), rank), group.end());
          EXPECT_TRUE(std::is_sorted(group.begin(), group.end()));
        }
        for (const int other : mesh.shard_group()) {
          EXPECT_EQ(make_mesh(config, place(other, 8, 8)).shard_group(), mesh.shard_group());
        }
      }
      EXPECT_EQ(places.size(), 8U);
    }
  }
}

TEST(Mesh, WhatDoesNotDivideIsRefused) {
  config::Config config;
  config.pipeline_stages = 3;
  EXPECT_THROW(make_mesh(config, place(0, 4, 4)), ConfigError);
  config.pipeline_stages = 1;
  config.sharding_strategy = config::Sharding::hybrid_full_shard;
  config.hybrid_shard_size = 3;
  EXPECT_THROW(make_mesh(config, place(0, 4, 4)), ConfigError);
}

}  // namespace
}  // namespace lorica::parallel
