#include "parallel/world.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <numeric>

#include "base/error.hpp"
#include "parallel/ending.hpp"
#include "parallel/exchange.hpp"
#include "parallel/meeting.hpp"
#include "parallel/network.hpp"
#include "parallel/process_group.hpp"
#include "parallel/watch.hpp"

namespace lorica::parallel {
namespace {

constexpr double kMeetingTimeouts = 20;

/// Where this process is reached. A machine's own name may lead to its loopback address, which is of no use to others:
/// then the address at which they see this machine, where the store is, counts.
std::string reachable_address(const std::vector<Greeting>& all, int rank) {
  const auto& own = all[rank].here;
  if (!is_loopback(own)) return own;
  for (const auto& other : all) {
    if (!is_loopback(other.here) && !other.there.empty()) return other.there;
  }
  return own.empty() ? "127.0.0.1" : own;
}

}  // namespace

struct World::State {
  explicit State(const Place& where, double timeout) : place(where), peer_timeout(timeout) {}

  void meet_others(const config::Config& config);
  void complete_place(const std::vector<Greeting>& all);

  Place place;
  double peer_timeout;
  bool parted = false;
  std::string address = "127.0.0.1";
  std::unique_ptr<StoreAccess> access;  // longest: rank 0's is the store
  std::unique_ptr<Watch> watch;
  std::unique_ptr<ProcessGroup> group;
};

void World::State::meet_others(const config::Config& config) {
  const double limit = kMeetingTimeouts * peer_timeout;
  access = std::make_unique<StoreAccess>(place, limit);
  introduce(config, place, *access, limit);
  WatchOptions options;
  options.rank = place.rank;
  options.size = place.world;
  options.timeout = peer_timeout;
  options.store_place = fmt::format("{} at {}:{}", place.store_hosted ? "the launcher's store" : "rank 0",
                                    access->host(), access->port());
  watch = std::make_unique<Watch>(access->connect(), options, [](const std::string& verdict) {
    end_process({verdict, 1, false, -1});
  });
  std::vector<Greeting> all;
  try {
    all = meet(place, *access, *watch, limit);
  } catch (const Error& error) {
    watch->report(fmt::format("rank {}: {}", place.rank, error.what()));
    watch->linger();
    throw;
  } catch (const std::exception&) {
    // The store is gone. The watch knows why, or will in a moment.
    throw PeerError(watch->wait_for_verdict(peer_timeout + 2));
  }
  std::vector<std::string> names;
  for (int rank = 0; rank < place.world; ++rank)
    names.push_back(fmt::format("rank {} (host {})", rank, all[rank].host));
  watch->set_names(names);
  address = reachable_address(all, place.rank);
  complete_place(all);
}

/// What the launcher didn't say.
void World::State::complete_place(const std::vector<Greeting>& all) {
  if (place.local_known) return;
  place.local_known = true;
  const auto& host = all[place.rank].host;
  place.local_rank = place.local_world = 0;
  for (int rank = 0; rank < place.world; ++rank) {
    if (all[rank].host != host) continue;
    ++place.local_world;
    if (rank < place.rank) ++place.local_rank;
  }
}

World::World(const config::Config& config, const Place& place)
    : state_(std::make_unique<State>(place, config.peer_timeout)) {
  if (place.world == 1) return;
  state_->meet_others(config);
  std::vector<int> all(place.world);
  std::iota(all.begin(), all.end(), 0);
  state_->group = std::make_unique<ProcessGroup>(*this, "world", all, at::kCPU);
}

World::~World() {
  if (!state_->watch) return;
  if (!state_->parted) report_failure("it ended before the run did");
  state_->watch->linger();
}

const Place& World::place() const {
  return state_->place;
}

void World::barrier() {
  all_gather({});
}

std::vector<std::vector<double>> World::all_gather(const std::vector<double>& values) {
  if (size() == 1) return {values};
  // One more than asked for, so that there is a message even when a barrier is all that is wanted.
  const auto count = static_cast<std::int64_t>(values.size()) + 1;
  auto own = at::zeros({count}, at::kDouble), all = at::empty({count * size()}, at::kDouble);
  std::copy(values.begin(), values.end(), own.mutable_data_ptr<double>());
  state_->group->all_gather(all, own).wait();
  std::vector<std::vector<double>> result;
  for (int rank = 0; rank < size(); ++rank) {
    const auto* begin = all.const_data_ptr<double>() + rank * count;
    result.emplace_back(begin, begin + values.size());
  }
  return result;
}

std::vector<std::string> World::all_gather_text(const std::string& text) {
  if (size() == 1) return {text};
  return parallel::all_gather_text(*state_->group, text);
}

std::string World::broadcast(const std::string& text) {
  if (size() == 1) return text;
  auto length = at::full({1}, static_cast<std::int64_t>(text.size()), at::kLong);
  state_->group->broadcast(length, 0).wait();
  auto bytes = at::empty({*length.const_data_ptr<std::int64_t>()}, at::kByte);
  if (main()) std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  state_->group->broadcast(bytes, 0).wait();
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<std::size_t>(bytes.numel())};
}

void World::report_failure(const std::string& why) {
  if (state_->watch) state_->watch->report(fmt::format("rank {}: {}", rank(), why));
}

std::string World::failure() {
  return state_->watch ? state_->watch->wait_for_verdict(state_->peer_timeout + 2) : "";
}

void World::part() {
  if (state_->watch) state_->watch->part();
  state_->parted = true;
}

c10d::Store& World::store() {
  ensure(state_->access != nullptr, "one process alone has no store");
  return *state_->access->first();
}

const std::string& World::address() const {
  return state_->address;
}

void World::lost(int rank, const std::string& why) {
  if (rank >= 0) state_->watch->suspect(rank);
  auto verdict = failure();
  if (verdict.empty()) {
    const auto whom = rank >= 0 ? fmt::format("rank {}", rank) : "another process";
    verdict = state_->watch->report(fmt::format("rank {} lost its connection to {}: {}", place().rank, whom, why));
  }
  throw PeerError(verdict.empty() ? why : verdict);
}

int World::run(const std::function<int()>& body) {
  if (size() == 1) return body();
  try {
    return body();
  } catch (...) {
    auto ending = ending_of(std::current_exception());
    ending.rank = rank();
    if (ending.own) report_failure(ending.message);
    state_->watch->linger();
    end_process(ending);
  }
}

}  // namespace lorica::parallel
