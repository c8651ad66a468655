// All processes of a run together: meeting, agreeing, noticing when one is gone. Free of Torch: what moves tensors is
// in process_group.hpp.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "parallel/place.hpp"

namespace c10d {
class Store;
}

namespace lorica::parallel {

/// While it lives: a connection to the store at rank 0 (c10d's TCPStore), and threads that give and watch signs of
/// life. All methods are collective unless said otherwise: every process must call them, in the same order. They throw
/// PeerError when another process is lost.
class World {
 public:
  /// Meets the other processes, for at most 20 peer timeouts. Throws ConfigError when the configurations differ (naming
  /// the keys and both values), when the port is in use, or when the processes don't agree on their number; PeerError
  /// naming the ranks that haven't come within the time limit.
  World(const config::Config& config, const Place& place);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  const Place& place() const;
  int rank() const { return place().rank; }
  int size() const { return place().world; }
  bool main() const { return rank() == 0; }

  void barrier();
  /// Everybody's `values`, by rank. All bring the same number of them.
  std::vector<std::vector<double>> all_gather(const std::vector<double>& values);
  /// Everybody's text, by rank.
  std::vector<std::string> all_gather_text(const std::string& text);
  /// Rank 0's text.
  std::string broadcast(const std::string& text);

  /// body(), with the errors of a process among several: what it throws is told to the others and to the user, and ends
  /// this process without running destructors, which could wait for processes that are gone. Alone: body(), no more.
  int run(const std::function<int()>& body);
  /// Not collective. Tells all others that this process fails, and why (the first one to do so counts); they stop
  /// within seconds, naming it.
  void report_failure(const std::string& why);
  /// Not collective. What the run failed of, once known: "rank 2: …"; waits up to the peer timeout for the verdict, ""
  /// if there is none.
  std::string failure();
  /// Not collective. Ends the watch: from now on another process's exit is no failure. Call after the last barrier.
  void part();

  /// For process groups (process_group.hpp). What meets there goes under names of this run.
  c10d::Store& store();
  /// Of this machine, where the others reach it.
  const std::string& address() const;
  /// An operation with `rank` (−1: with any) failed. Waits for the verdict, or else makes it one.
  [[noreturn]] void lost(int rank, const std::string& why);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lorica::parallel
