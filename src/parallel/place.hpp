// Who this process is among those of a run, as its launcher says. Free of Torch.
#pragma once

#include <optional>
#include <string>

#include "config/config.hpp"

namespace lorica::parallel {

/// One process among many. Ranks of a node are neighbours: rank = node · local_world + local_rank where every node has
/// as many.
struct Place {
  int rank = 0, world = 1;
  int local_rank = 0, local_world = 1;  ///< within this machine
  bool local_known = true;              ///< false: the launcher doesn't say, one machine is a guess; World finds out
  std::string master_addr = "localhost";
  int master_port = 0;
  std::string launcher;       ///< "lorica", "torchrun", "SLURM", "Open MPI"; "" alone
  bool store_hosted = false;  ///< rank 0's too only connects: torchrun's agent is the store
  int store_socket = -1;      ///< rank 0 under our launcher: its listening socket; -1: to be opened
  std::string attempt;        ///< tells restarts within one store apart
  bool main() const { return rank == 0; }
};

/// From the environment: our own launcher's or torchrun's (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR,
/// MASTER_PORT), SLURM's (SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, …) or Open MPI's (OMPI_COMM_WORLD_RANK, …).
/// Without any: alone. Throws ConfigError naming the variable that is missing, malformed or contradicts `config`
/// (world_size).
Place find_place(const config::Config& config);

/// Whether a launcher has started this process.
bool has_launcher();

}  // namespace lorica::parallel
