#include "parallel/place.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "base/wording.hpp"
#include "parallel/ending.hpp"

namespace lorica::parallel {
namespace {

/// The value of an environment variable; nothing if it is unset or empty.
std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

std::optional<int> number(const char* name, int lowest) {
  const auto text = variable(name);
  if (!text) return std::nullopt;
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error == std::errc() && end == text->data() + text->size() && value >= lowest) return value;
  raise<ConfigError>("the environment variable {} is \"{}\", not a whole number of at least {}", name, *text, lowest);
}

int needed(const char* name, int lowest, const char* beside) {
  if (const auto value = number(name, lowest)) return *value;
  raise<ConfigError>("the environment variable {} is set, but {} isn't: set both, or neither", beside, name);
}

/// What the launcher calls rank and size, by node and in all.
struct Names {
  const char *rank, *world, *local_rank, *local_world;
};

Place read_ranks(const Names& names, const char* launcher) {
  Place place;
  place.launcher = launcher;
  place.rank = needed(names.rank, 0, names.world);
  place.world = needed(names.world, 1, names.rank);
  const auto local_world = number(names.local_world, 1), local_rank = number(names.local_rank, 0);
  place.local_known = local_world && local_rank;
  place.local_world = local_world.value_or(place.world);
  place.local_rank = local_rank.value_or(place.rank);
  if (place.rank >= place.world) {
    raise<ConfigError>("the environment variable {} is {}, but {} is {}: ranks count from 0", names.rank, place.rank,
                       names.world, place.world);
  }
  if (place.local_world > place.world) {
    raise<ConfigError>("the environment variable {} is {}, but {} only {}", names.local_world, place.local_world,
                       names.world, place.world);
  }
  if (place.local_known && place.local_rank >= place.local_world) {
    raise<ConfigError>("the environment variable {} is {}, but {} is {}: ranks count from 0", names.local_rank,
                       place.local_rank, names.local_world, place.local_world);
  }
  return place;
}

/// The first host of SLURM's list: "gpu[007-010,12],big1" begins with gpu007.
std::string first_host(const std::string& list) {
  const auto end = list.find_first_of(",[");
  auto host = list.substr(0, end);
  if (end == std::string::npos || list[end] == ',') return host;
  return host + list.substr(end + 1, list.find_first_of(",-]", end) - end - 1);
}

/// Processes on node `node` by SLURM's list of them: "2(x3),1".
int tasks_of_node(const std::string& list, int node) {
  for (const auto& part : split(list, ',')) {
    int tasks = 0, nodes = 1;
    const auto repeat = part.find("(x");
    std::from_chars(part.data(), part.data() + part.size(), tasks);
    if (repeat != std::string::npos) std::from_chars(part.data() + repeat + 2, part.data() + part.size(), nodes);
    if (node < nodes) return tasks;
    node -= nodes;
  }
  return 0;
}

Place slurm_place() {
  auto place = read_ranks({"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"}, "SLURM");
  for (const char* name : {"SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"}) {
    const auto list = variable(name);
    const auto node = number("SLURM_NODEID", 0);
    if (list && node) {
      place.local_world = tasks_of_node(*list, *node);
      place.local_known = variable("SLURM_LOCALID").has_value();
      break;
    }
  }
  for (const char* name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST", "SLURM_LAUNCH_NODE_IPADDR"}) {
    if (const auto list = variable(name)) {
      place.master_addr = first_host(*list);
      break;
    }
  }
  if (place.local_known && place.local_world == place.world) place.master_addr = "localhost";
  return place;
}

Place launched_place() {
  const bool ours = variable(kLaunchedVariable).has_value();
  auto place = read_ranks({"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}, ours ? "lorica" : "torchrun");
  if (ours) place.store_socket = number(kStoreSocketVariable, 0).value_or(-1);
  place.store_hosted = variable("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True";
  place.attempt = fmt::format("{}.{}", variable("TORCHELASTIC_RUN_ID").value_or("0"),
                              variable("TORCHELASTIC_RESTART_COUNT").value_or("0"));
  return place;
}

/// The launcher of this process, by the variables that it sets.
std::optional<Place> place_from_launcher() {
  if (variable("RANK") || variable("WORLD_SIZE")) return launched_place();
  if (variable("OMPI_COMM_WORLD_RANK")) {
    return read_ranks(
        {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
        "Open MPI");
  }
  // A shell inside an allocation has SLURM's variables as well, but is one process.
  if (variable("SLURM_PROCID") && number("SLURM_NTASKS", 1).value_or(1) > 1) return slurm_place();
  return std::nullopt;
}

void find_master(Place& place, const config::Config& config) {
  const bool chosen = config.master_addr != config::Config{}.master_addr;
  if (const auto host = variable("MASTER_ADDR")) {
    place.master_addr = *host;
  } else if (chosen || place.master_addr.empty()) {
    place.master_addr = config.master_addr;
  }
  place.master_port = number("MASTER_PORT", 1).value_or(static_cast<int>(config.master_port));
  if (place.master_port > 65535) {
    raise<ConfigError>("the environment variable MASTER_PORT is {}; ports end at 65535", place.master_port);
  }
  if (place.launcher == "Open MPI" && place.local_world != place.world && !chosen && !variable("MASTER_ADDR")) {
    raise<ConfigError>("Open MPI doesn't say where rank 0 runs: give its host with --master_addr");
  }
}

}  // namespace

bool has_launcher() {
  return place_from_launcher().has_value();
}

Place find_place(const config::Config& config) {
  auto found = place_from_launcher();
  if (!found) return {};
  auto& place = *found;
  if (place.world > 1) find_master(place, config);
  if (config.world_size > 0 && config.world_size != place.world) {
    raise<ConfigError>("world_size: {} was asked for, but {} started {}: leave the option out, or give the same",
                       config.world_size, place.launcher, counted(place.world, "process"));
  }
  return place;
}

}  // namespace lorica::parallel
