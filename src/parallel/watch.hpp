// Signs of life. Every process counts up a number in the store; rank 0 watches the numbers with its own clock (so that
// no two clocks are ever compared) and writes down who stands still: the verdict, the same for all. Inside parallel/
// only.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <torch/csrc/distributed/c10d/Store.hpp>

namespace lorica::parallel {

struct WatchOptions {
  int rank = 0, size = 1;
  double timeout = 15;      ///< seconds without a sign of life
  std::string store_place;  ///< for people: "rank 0 at 10.0.0.1:12355"
};

class Watch {
 public:
  /// To be called by rank 0, before anybody starts a watch.
  static void prepare(c10d::Store& store, int size);
  /// Writes a verdict, if there is none, by a process that isn't watched yet.
  static void condemn(c10d::Store& store, const std::string& verdict);

  /// `store`: a connection of its own. `conclude(verdict)` is called from a thread and must end the process: this one
  /// hasn't ended by itself some seconds after the verdict.
  Watch(c10::intrusive_ptr<c10d::Store> store, const WatchOptions& options,
        std::function<void(const std::string&)> conclude);
  ~Watch();

  /// For people: "rank 3 (host a)", by rank.
  void set_names(std::vector<std::string> names);
  /// "" while all is well.
  std::string verdict();
  /// Waits up to `seconds` for one.
  std::string wait_for_verdict(double seconds);
  /// Proposes a verdict; the first one counts, and is returned. Takes a few seconds at most.
  std::string report(const std::string& why);
  /// The connection to `rank` broke: from now on a few seconds without its sign of life are enough.
  void suspect(int rank);
  /// From now on nothing is a failure. Rank 0 returns when all have said so: the store may end with it.
  void part();
  /// After a verdict: rank 0 waits a moment until the others have read it, for the same reason.
  void linger();

 private:
  using Clock = std::chrono::steady_clock;
  struct Peer {
    std::string line;
    Clock::time_point changed;
    bool told = false, parted = false;
  };

  void beat();
  void exchange();
  void read_lines(const std::vector<std::string>& lines);
  std::string silent_peer();
  void guard();
  void decide(const std::string& verdict);
  std::string lost_store() const;
  std::string name_of(int rank) const;

  const c10::intrusive_ptr<c10d::Store> store_;
  const WatchOptions options_;
  const std::function<void(const std::string&)> conclude_;
  const std::chrono::milliseconds period_;

  std::mutex mutex_;  // of all that follows
  std::condition_variable changed_;
  std::vector<std::string> names_;
  std::string verdict_, report_;
  std::vector<int> suspects_;    // of this process
  std::vector<bool> suspected_;  // rank 0: by anybody
  std::vector<Peer> peers_;      // rank 0
  bool woken_ = false;           // beat now
  bool parting_ = false, parted_ = false;
  bool stopping_ = false, ended_ = false;  // the beating thread is to end; has
  Clock::time_point contact_ = Clock::now(), decided_{}, read_{};
  std::uint64_t beats_ = 0;

  std::thread beating_, guarding_;
};

}  // namespace lorica::parallel
