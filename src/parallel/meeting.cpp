#include "parallel/meeting.hpp"

#include <c10/util/Logging.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <set>
#include <thread>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "parallel/ending.hpp"
#include "parallel/network.hpp"

namespace lorica::parallel {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr const char* kOpen = "open";            // rank 0: as many processes are expected
constexpr const char* kAgreement = "agreement";  // rank 0: "" or what differs

Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

std::string greeting_key(int rank) {
  return fmt::format("greeting/{}", rank);
}
std::string config_key(int rank) {
  return fmt::format("config/{}", rank);
}

/// The name says "localhost" to people; to c10d it might mean an address that nobody listens at.
std::string store_host(const Place& place) {
  return place.master_addr == "localhost" ? "127.0.0.1" : place.master_addr;
}

std::string write_greeting(const Greeting& greeting) {
  return fmt::format("{}\n{}\n{}\n{}\n{}", greeting.world, greeting.host, greeting.process, greeting.here,
                     greeting.there);
}

Greeting read_greeting(const std::string& text) {
  const auto parts = split(text, '\n');
  ensure(parts.size() == 5, "unreadable greeting");
  return {std::stoi(parts[0]), parts[1], parts[2], parts[3], parts[4]};
}

/// Options that may differ, as they only concern the process that they are given to.
bool is_own_affair(const std::string& key) {
  static const std::set<std::string> keys{"rank_logs",  "threads",     "verbose",
                                          "world_size", "master_addr", "master_port"};
  return keys.contains(key);
}

/// TOML lines to values by key; keys of a table come with its name and number in front.
std::map<std::string, std::string> values_of(const std::string& toml) {
  std::map<std::string, std::string> values;
  std::map<std::string, int> tables;
  std::string table;
  for (const auto& line : split(toml, '\n')) {
    if (line.starts_with('[')) {
      table = fmt::format("{} {}.", line, ++tables[line]);
    } else if (const auto equals = line.find(" = "); equals != std::string::npos) {
      values[table + line.substr(0, equals)] = line.substr(equals + 3);
    }
  }
  return values;
}

/// True when all keys are there, false when give_up() is true before.
bool wait_for(c10d::Store& store, const std::vector<std::string>& keys, const std::function<bool()>& give_up) {
  auto pause = 5ms;
  while (!store.check(keys)) {
    if (give_up()) return store.check(keys);
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, 100ms);
  }
  return true;
}

std::string missing(c10d::Store& store, const std::vector<std::string>& keys) {
  std::vector<int> ranks;
  for (std::size_t rank = 0; rank < keys.size(); ++rank) {
    if (!store.check({keys[rank]})) ranks.push_back(static_cast<int>(rank));
  }
  return fmt::format("rank{} {}", ranks.size() == 1 ? "" : "s", fmt::join(ranks, ", "));
}

/// What keeps this process out of the run; "" if nothing does.
std::string objection(const Place& place, c10d::Store& store, const Greeting& own) {
  const auto expected = store.get_to_str(kOpen);
  if (expected != std::to_string(place.world)) {
    return fmt::format(
        "rank {} was told that there are {} processes, rank 0 that there are {}: start all with the same "
        "number",
        place.rank, place.world, expected);
  }
  const auto mine = write_greeting(own);
  const auto first = store.compareSet(greeting_key(place.rank), std::string(), mine);
  if (first == mine) return "";
  const auto other = read_greeting(first);
  return fmt::format("two processes are rank {}: process {} on {} and process {} on {}", place.rank, other.process,
                     other.host, own.process, own.host);
}

/// "", or what differs from rank 0's, a line each.
std::string compare_configs(c10d::Store& store, int world) {
  constexpr std::size_t kEnough = 20;
  const auto first = store.get_to_str(config_key(0));
  std::vector<std::string> problems;
  for (int rank = 1; rank < world && problems.size() < kEnough; ++rank) {
    for (auto& problem : differences(first, store.get_to_str(config_key(rank)), rank)) {
      problems.push_back(std::move(problem));
    }
  }
  return fmt::format("{}", fmt::join(problems, "\n  "));
}

/// c10d tells standard error of each connection that ends, and the system kills who writes to one. We say so ourselves,
/// in words.
void quieten_connections() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = 3;
  std::signal(SIGPIPE, SIG_IGN);
}

/// Of this process so far: a store that outlives them must tell them apart.
std::atomic<int> worlds;

}  // namespace

StoreAccess::StoreAccess(const Place& place, double limit)
    : host_(store_host(place)),
      prefix_(fmt::format("lorica/{}/{}", place.attempt, ++worlds)),
      port_(place.master_port),
      limit_(limit) {
  quieten_connections();
  const auto end = after(limit);
  if (place.main() && !place.store_hosted) {
    auto socket = place.store_socket >= 0 ? Descriptor(place.store_socket) : listen_on(host_, port_);
    port_ = port_of(socket);
    first_ = open(socket.release());
  } else {
    while (!answers(host_, port_, 1)) {
      if (Clock::now() > end) {
        raise<PeerError>(
            "rank {} couldn't reach rank 0 at {}:{} within {:g} s: is its process running there, and the "
            "port open?",
            place.rank, host_, port_, limit);
      }
      std::this_thread::sleep_for(100ms);
    }
    first_ = open(-1);
  }
  if (!place.main()) return;
  Watch::prepare(*first_, place.world);
  first_->set(kOpen, std::to_string(place.world));
}

StorePointer StoreAccess::connect() const {
  return open(-1);
}

/// `listening`: the store itself, on this socket.
StorePointer StoreAccess::open(int listening) const {
  c10d::TCPStoreOptions options;
  options.waitWorkers = false;
  options.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(limit_ * 1000));
  options.port = static_cast<std::uint16_t>(port_);
  options.isServer = listening >= 0;
  if (listening >= 0) options.masterListenFd = listening;
  try {
    auto store = c10::make_intrusive<c10d::TCPStore>(host_, options);
    store->setTimeout(std::chrono::hours(24 * 30));  // from here on the watch keeps the time
    return c10::make_intrusive<c10d::PrefixStore>(prefix_, std::move(store));
  } catch (const std::exception& error) {
    raise<PeerError>("couldn't reach rank 0 at {}:{}: {}", host_, port_, first_line(error.what()));
  }
}

void introduce(const config::Config& config, const Place& place, const StoreAccess& access, double limit) {
  auto& store = *access.first();
  const auto end = after(limit);
  if (!wait_for(store, {kOpen}, [&] { return Clock::now() > end; })) {
    raise<PeerError>("rank 0 didn't come to {}:{} within {:g} s", access.host(), access.port(), limit);
  }
  store.set(config_key(place.rank), config::to_toml(config));
  const auto route = route_to(access.host(), access.port());
  const Greeting own{place.world, host_name(), std::to_string(::getpid()), route.here, route.there};
  const auto problem = objection(place, store, own);
  if (problem.empty()) return;
  if (!store.check({kAgreement})) Watch::condemn(store, problem);
  throw ConfigError(problem);
}

std::vector<Greeting> meet(const Place& place, const StoreAccess& access, Watch& watch, double limit) {
  auto& store = *access.first();
  std::vector<std::string> keys;
  for (int rank = 0; rank < place.world; ++rank) keys.push_back(greeting_key(rank));
  // Rank 0 knows who lacks, so it is the first to complain.
  const auto end = after(limit + (place.main() ? 0 : 5));
  const auto give_up = [&] { return !watch.verdict().empty() || Clock::now() > end; };
  if (place.main()) {
    if (wait_for(store, keys, give_up)) store.set(kAgreement, compare_configs(store, place.world));
  }
  // What rank 0 found is there before the verdict on it: who sees the verdict first reads it all the same.
  if (!wait_for(store, {kAgreement}, give_up) && !store.check({kAgreement})) {
    if (const auto verdict = watch.verdict(); !verdict.empty()) throw PeerError(verdict);
    raise<PeerError>("{} of {} processes didn't come to {}:{} within {:g} s", missing(store, keys), place.world,
                     access.host(), access.port(), limit);
  }
  const auto problems = store.get_to_str(kAgreement);
  if (!problems.empty()) {
    raise<ConfigError>("the processes have different configurations; start all with the same:\n  {}", problems);
  }
  std::vector<Greeting> all;
  for (const auto& key : keys) all.push_back(read_greeting(store.get_to_str(key)));
  return all;
}

std::vector<std::string> differences(const std::string& first, const std::string& other, int rank) {
  const auto mine = values_of(first), theirs = values_of(other);
  std::set<std::string> keys;
  for (const auto& [key, value] : mine) keys.insert(key);
  for (const auto& [key, value] : theirs) keys.insert(key);
  std::vector<std::string> result;
  for (const auto& key : keys) {
    const auto a = mine.find(key), b = theirs.find(key);
    const auto text = [](const auto& found, const auto& all) { return found == all.end() ? "nothing" : found->second; };
    if (is_own_affair(key) || (a != mine.end() && b != theirs.end() && a->second == b->second)) continue;
    result.push_back(fmt::format("{}: {} for rank 0, {} for rank {}", key, text(a, mine), text(b, theirs), rank));
  }
  return result;
}

}  // namespace lorica::parallel
