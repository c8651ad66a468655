#include "parallel/place.hpp"

#include <gmock/gmock.h>

#include <cstdlib>

#include "base/error.hpp"

extern char** environ;

namespace lorica::parallel {
namespace {

using testing::HasSubstr;
using Variables = std::vector<std::pair<std::string, std::string>>;

/// The place in an environment of these variables alone.
Place place_in(const Variables& variables, const config::Config& config = {}) {
  std::vector<std::string> launchers;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string name = std::string(*entry).substr(0, std::string(*entry).find('='));
    for (const char* prefix : {"RANK", "WORLD", "LOCAL_", "MASTER_", "SLURM", "OMPI", "TORCHELASTIC", "LORICA"}) {
      if (name.starts_with(prefix)) launchers.push_back(name);
    }
  }
  for (const auto& name : launchers) ::unsetenv(name.c_str());
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  struct Unset {
    const Variables& all;
    ~Unset() {
      for (const auto& [name, value] : all) ::unsetenv(name.c_str());
    }
  } unset{variables};
  return find_place(config);
}

std::string complaint(const Variables& variables, const config::Config& config = {}) {
  try {
    place_in(variables, config);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "none";
}

TEST(FindPlace, alone_without_a_launcher) {
  const auto place = place_in({});
  EXPECT_EQ(place.world, 1);
  EXPECT_EQ(place.launcher, "");
}

TEST(FindPlace, torchrun) {
  const auto place = place_in({{"RANK", "5"},
                               {"WORLD_SIZE", "8"},
                               {"LOCAL_RANK", "1"},
                               {"LOCAL_WORLD_SIZE", "4"},
                               {"MASTER_ADDR", "node0"},
                               {"MASTER_PORT", "29500"},
                               {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                               {"TORCHELASTIC_RESTART_COUNT", "2"},
                               {"TORCHELASTIC_RUN_ID", "job"}});
  EXPECT_EQ(place.rank, 5);
  EXPECT_EQ(place.world, 8);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.local_world, 4);
  EXPECT_EQ(place.master_addr, "node0");
  EXPECT_EQ(place.master_port, 29500);
  EXPECT_EQ(place.launcher, "torchrun");
  EXPECT_TRUE(place.store_hosted);
  EXPECT_EQ(place.attempt, "job.2");
}

TEST(FindPlace, master_from_the_options_where_the_launcher_names_none) {
  config::Config config;
  config.master_addr = "head";
  config.master_port = 4321;
  const auto place = place_in({{"RANK", "0"}, {"WORLD_SIZE", "2"}}, config);
  EXPECT_EQ(place.master_addr, "head");
  EXPECT_EQ(place.master_port, 4321);
  EXPECT_FALSE(place.local_known);
}

TEST(FindPlace, open_mpi) {
  const Variables local{{"OMPI_COMM_WORLD_RANK", "1"},
                        {"OMPI_COMM_WORLD_SIZE", "2"},
                        {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                        {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  const auto place = place_in(local);
  EXPECT_EQ(place.rank, 1);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.master_addr, "localhost");
  EXPECT_EQ(place.launcher, "Open MPI");
  auto spread = local;
  spread[3].second = "1";
  spread[2].second = "0";
  EXPECT_THAT(complaint(spread), HasSubstr("--master_addr"));
}

TEST(FindPlace, slurm_expands_its_lists) {
  Variables variables{{"SLURM_PROCID", "3"},
                      {"SLURM_NTASKS", "7"},
                      {"SLURM_LOCALID", "1"},
                      {"SLURM_NODEID", "1"},
                      {"SLURM_TASKS_PER_NODE", "2(x3),1"},
                      {"SLURM_STEP_NODELIST", "gpu[007-009,12]"}};
  const auto place = place_in(variables);
  EXPECT_EQ(place.rank, 3);
  EXPECT_EQ(place.world, 7);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.local_world, 2);
  EXPECT_EQ(place.master_addr, "gpu007");
  variables[3].second = "3";
  variables[2].second = "0";
  EXPECT_EQ(place_in(variables).local_world, 1);
  variables[5].second = "n1,n2";
  EXPECT_EQ(place_in(variables).master_addr, "n1");
  variables.push_back({"MASTER_ADDR", "10.0.0.1"});
  EXPECT_EQ(place_in(variables).master_addr, "10.0.0.1");
}

TEST(FindPlace, a_shell_inside_a_slurm_allocation_is_one_process) {
  EXPECT_EQ(place_in({{"SLURM_NTASKS", "4"}}).world, 1);
  EXPECT_EQ(place_in({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}}).launcher, "");
}

TEST(FindPlace, contradictions_name_the_variable) {
  EXPECT_THAT(complaint({{"RANK", "0"}}), HasSubstr("WORLD_SIZE"));
  EXPECT_THAT(complaint({{"WORLD_SIZE", "2"}}), HasSubstr("RANK"));
  EXPECT_THAT(complaint({{"RANK", "two"}, {"WORLD_SIZE", "4"}}), HasSubstr("RANK is \"two\""));
  EXPECT_THAT(complaint({{"RANK", "-1"}, {"WORLD_SIZE", "4"}}), HasSubstr("RANK"));
  EXPECT_THAT(complaint({{"RANK", "4"}, {"WORLD_SIZE", "4"}}), HasSubstr("RANK is 4"));
  EXPECT_THAT(complaint({{"RANK", "1"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "2"}, {"LOCAL_WORLD_SIZE", "2"}}),
              HasSubstr("LOCAL_RANK"));
  EXPECT_THAT(complaint({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "4"}}),
              HasSubstr("LOCAL_WORLD_SIZE"));
  EXPECT_THAT(complaint({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "99999"}}), HasSubstr("MASTER_PORT"));
  config::Config config;
  config.world_size = 3;
  EXPECT_THAT(complaint({{"RANK", "1"}, {"WORLD_SIZE", "2"}}, config), HasSubstr("world_size: 3"));
}

}  // namespace
}  // namespace lorica::parallel
