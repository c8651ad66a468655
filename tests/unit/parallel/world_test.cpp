// Meeting, agreeing, and noticing when one of several processes is gone.
#include "parallel/world.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <signal.h>

#include <thread>

#include "base/error.hpp"
#include "parallel/process_group.hpp"
#include "parallel/processes.hpp"

namespace lorica::parallel {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

config::Config quick(double peer_timeout) {
  config::Config config;
  config.peer_timeout = peer_timeout;
  return config;
}

/// A run of 4 seconds of small steps that all take part in. `event` is called once a step, and what it throws ends the
/// process as in a real run.
std::string steps(const Place& place, double peer_timeout, const std::function<void(int step)>& event) {
  World world(quick(peer_timeout), place);
  world.run([&] {
    for (int step = 0; step < 200; ++step) {
      event(step);
      world.all_gather({1.0 * step});
      std::this_thread::sleep_for(20ms);
    }
    world.barrier();
    world.part();
    return 0;
  });
  return "done";
}

/// Stops this process, and lets it go on after `pause`.
void stop_for(std::chrono::seconds pause) {
  const pid_t own = ::getpid();
  if (::fork() == 0) {
    ::sleep(static_cast<unsigned>(pause.count()));
    ::kill(own, SIGCONT);
    ::_exit(0);
  }
  ::kill(own, SIGSTOP);
}

TEST(World, gathers_and_broadcasts) {
  all_succeed(3, [](const Place& place) {
    World world(config::Config{}, place);
    const auto all = world.all_gather({place.rank * 1.5, -1.0});
    check(all.size() == 3, "size");
    for (int rank = 0; rank < 3; ++rank) check(all[rank] == std::vector<double>{rank * 1.5, -1.0}, "values");
    check(world.broadcast(place.rank == 0 ? "héllo" : "ignored") == "héllo", "text");
    check(world.broadcast("").empty() || place.rank > 0, "empty text");
    world.barrier();
    world.part();
  });
}

TEST(World, leaving_at_different_times_is_no_failure) {
  const auto exits = run_processes(3, [](const Place& place) {
    World world(quick(1), place);
    world.barrier();
    world.part();
    std::this_thread::sleep_for(place.rank * 1500ms);
    return world.failure().substr(0, place.rank == 2 ? 0 : 1000);
  });
  for (const auto& exit : exits) EXPECT_EQ(exit.code, 0) << exit.output;
  for (const auto& exit : exits) EXPECT_EQ(exit.output, "");
}

TEST(World, different_configurations_are_refused_by_all) {
  const auto exits = run_processes(3, [](const Place& place) {
    config::Config config;
    config.rank_logs = "logs" + std::to_string(place.rank);  // may differ
    if (place.rank == 2) config.lr = 0.25;
    const World world(config, place);
    return std::string();
  });
  for (const auto& exit : exits) {
    EXPECT_THAT(exit.output, HasSubstr("threw: the processes have different configurations"));
    EXPECT_THAT(exit.output, HasSubstr("lr: " + config::value_text({}, "lr") + " for rank 0, 0.25 for rank 2"));
    EXPECT_THAT(exit.output, Not(HasSubstr("rank_logs")));
  }
}

TEST(World, different_numbers_of_processes_are_refused) {
  const auto exits = run_processes(2, [](Place place) {
    if (place.rank == 1) place.world = 3;
    const World world(quick(2), place);
    return std::string();
  });
  EXPECT_THAT(exits[1].output, HasSubstr("rank 1 was told that there are 3 processes, rank 0 that there are 2"));
  EXPECT_THAT(exits[0].output, HasSubstr("rank 1 was told that there are 3"));
}

TEST(World, two_of_the_same_rank_are_refused) {
  const auto exits = run_processes(3, [](Place place) {
    if (place.rank == 2) place.rank = 1;
    const World world(quick(2), place);
    return std::string();
  });
  for (const auto& exit : exits) EXPECT_THAT(exit.output, HasSubstr("two processes are rank 1"));
}

TEST(World, names_who_has_not_come) {
  const auto exits = run_processes(4, [](const Place& place) {
    if (place.rank % 2 == 1) return std::string("absent");
    const World world(quick(0.1), place);
    return std::string();
  });
  for (const int rank : {0, 2}) {
    EXPECT_THAT(exits[rank].output, HasSubstr("ranks 1, 3 of 4 processes didn't come to 127.0.0.1:"));
    EXPECT_LT(exits[rank].seconds, 8);
  }
}

TEST(World, says_when_rank_0_is_not_there) {
  const auto exits = run_processes(2, [](Place place) {
    if (place.rank == 0) return std::string("absent");
    const World world(quick(0.1), place);
    return std::string();
  });
  EXPECT_THAT(exits[1].output, HasSubstr("couldn't reach rank 0 at 127.0.0.1:"));
}

TEST(World, a_port_in_use_is_refused) {
  const auto taken = listen_on("127.0.0.1", 0);
  Place place;
  place.world = 2;
  place.master_port = port_of(taken);
  try {
    const World world(config::Config{}, place);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("port " + std::to_string(place.master_port) + " is in use"));
  }
}

TEST(World, an_error_of_one_ends_all_and_is_named) {
  for (const int culprit : {0, 2}) {
    const auto exits = run_processes(3, [&](const Place& place) {
      return steps(place, 5, [&](int step) {
        if (place.rank == culprit && step == 10) raise<FileError>("the disk is full");
      });
    });
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == culprit) {
        EXPECT_EQ(exits[rank].code, 2);
        EXPECT_EQ(exits[rank].output, "own 2\nthe disk is full");
      } else {
        EXPECT_EQ(exits[rank].code, 1);
        EXPECT_EQ(exits[rank].output, fmt::format("peer 1\nrank {}: the disk is full", culprit));
      }
      EXPECT_LT(exits[rank].seconds, 8);
    }
  }
}

TEST(World, a_killed_process_is_named_by_all) {
  const auto exits = run_processes(4, [](const Place& place) {
    return steps(place, 15, [&](int step) {
      if (place.rank == 2 && step == 10) ::kill(::getpid(), SIGKILL);
    });
  });
  EXPECT_EQ(exits[2].signal, SIGKILL);
  for (const int rank : {0, 1, 3}) {
    EXPECT_EQ(exits[rank].code, 1);
    EXPECT_THAT(exits[rank].output, HasSubstr("peer 1\nrank 2 (host "));
    EXPECT_THAT(exits[rank].output, HasSubstr("is gone"));
    EXPECT_LT(exits[rank].seconds, 12) << "a closed connection shortens the wait";
  }
}

TEST(World, a_killed_rank_0_is_named_by_all) {
  const auto exits = run_processes(3, [](const Place& place) {
    return steps(place, 15, [&](int step) {
      if (place.rank == 0 && step == 10) ::kill(::getpid(), SIGKILL);
    });
  });
  for (const int rank : {1, 2}) {
    EXPECT_EQ(exits[rank].code, 1);
    EXPECT_THAT(exits[rank].output, HasSubstr("lost contact with rank 0 at 127.0.0.1:"));
    EXPECT_LT(exits[rank].seconds, 12);
  }
}

TEST(World, one_that_stands_still_for_less_than_the_timeout_is_waited_for) {
  for (const int slow : {0, 1}) {
    const auto exits = run_processes(2, [&](const Place& place) {
      return steps(place, 6, [&](int step) {
        if (place.rank == slow && step == 10) stop_for(3s);
      });
    });
    for (const auto& exit : exits) EXPECT_EQ(exit.output, "done");
  }
}

TEST(World, one_that_stands_still_for_longer_is_named) {
  const auto exits = run_processes(3, [](const Place& place) {
    return steps(place, 2, [&](int step) {
      if (place.rank == 1 && step == 10) stop_for(7s);
    });
  });
  for (const int rank : {0, 1, 2}) {
    EXPECT_EQ(exits[rank].code, 1);
    EXPECT_THAT(exits[rank].output, testing::AnyOf(HasSubstr("rank 1 (host "), HasSubstr("lost contact with rank 0")));
  }
  for (const int rank : {0, 2}) EXPECT_THAT(exits[rank].output, HasSubstr("stopped answering for 2 s"));
  EXPECT_LT(exits[0].seconds, 12);
}

TEST(World, a_long_step_is_no_sign_of_death) {
  const auto exits = run_processes(2, [](const Place& place) {
    return steps(place, 1, [&](int step) {
      if (place.rank == 1 && step == 10) std::this_thread::sleep_for(4s);
    });
  });
  for (const auto& exit : exits) EXPECT_EQ(exit.output, "done");
}

TEST(World, one_that_hangs_outside_of_collectives_is_ended_with_the_others) {
  const auto exits = run_processes(2, [](const Place& place) {
    return steps(place, 2, [&](int step) {
      if (place.rank == 0 && step == 10) raise<TrainingError>("the loss is nan");
      if (place.rank == 1 && step == 10) std::this_thread::sleep_for(60s);
    });
  });
  EXPECT_EQ(exits[1].code, 1);
  EXPECT_EQ(exits[1].output, "peer 1\nrank 0: the loss is nan");
  EXPECT_LT(exits[1].seconds, 12);
}

TEST(World, an_error_does_not_wait_for_what_is_under_way) {
  const auto exits = run_processes(2, [](const Place& place) {
    World world(quick(5), place);
    world.run([&]() -> int {
      ProcessGroup group(world, "test", {0, 1}, at::kCPU);
      auto tensor = at::ones({1000});
      const auto pending = group.all_reduce(tensor);
      if (place.rank == 1) {
        const auto another = group.all_reduce(tensor);  // which rank 0 never joins
        raise<DataError>("a bad row");
      }
      std::this_thread::sleep_for(60s);
      return 0;
    });
    return std::string();
  });
  EXPECT_EQ(exits[1].output, "own 2\na bad row");
  EXPECT_EQ(exits[0].output, "peer 1\nrank 1: a bad row");
  EXPECT_LT(exits[0].seconds, 12);
}

}  // namespace
}  // namespace lorica::parallel
