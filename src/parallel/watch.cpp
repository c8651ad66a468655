#include "parallel/watch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace lorica::parallel {
namespace {

using namespace std::chrono_literals;

constexpr auto kGrace = 3s;      // between the verdict and the end of a process that doesn't notice it by itself
constexpr auto kSuspected = 3s;  // of silence, after a connection broke
constexpr auto kLinger = 3s;     // that rank 0 waits for the others to read the verdict
constexpr const char* kFailure = "failure";

std::string line_key(int rank) {
  return fmt::format("alive/{}", rank);
}

std::chrono::duration<double> seconds(double count) {
  return std::chrono::duration<double>(count);
}

}  // namespace

void Watch::prepare(c10d::Store& store, int size) {
  store.set(kFailure, "");
  for (int rank = 0; rank < size; ++rank) store.set(line_key(rank), "");
}

void Watch::condemn(c10d::Store& store, const std::string& verdict) {
  store.compareSet(kFailure, std::string(), verdict);
}

Watch::Watch(c10::intrusive_ptr<c10d::Store> store, const WatchOptions& options,
             std::function<void(const std::string&)> conclude)
    : store_(std::move(store)),
      options_(options),
      conclude_(std::move(conclude)),
      period_(
          std::chrono::duration_cast<std::chrono::milliseconds>(std::min(seconds(0.5), seconds(options.timeout / 5)))),
      suspected_(options.size),
      peers_(options.size) {
  beating_ = std::thread([this] { beat(); });
  guarding_ = std::thread([this] { guard(); });
}

// The beating thread may hang in a dead connection. The guard goes on meanwhile, and ends the process if need be.
Watch::~Watch() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return ended_; });
    parting_ = parted_ = true;
    changed_.notify_all();
  }
  beating_.join();
  guarding_.join();
}

void Watch::set_names(std::vector<std::string> names) {
  const std::lock_guard lock(mutex_);
  names_ = std::move(names);
}

std::string Watch::verdict() {
  const std::lock_guard lock(mutex_);
  return verdict_;
}

std::string Watch::wait_for_verdict(double limit) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, seconds(limit), [&] { return !verdict_.empty() || ended_; });
  return verdict_;
}

std::string Watch::report(const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    if (report_.empty()) report_ = why;
    woken_ = true;
    changed_.notify_all();
  }
  return wait_for_verdict(2);
}

void Watch::suspect(int rank) {
  const std::lock_guard lock(mutex_);
  if (std::find(suspects_.begin(), suspects_.end(), rank) == suspects_.end()) suspects_.push_back(rank);
  woken_ = true;
  changed_.notify_all();
}

void Watch::part() {
  std::unique_lock lock(mutex_);
  parting_ = woken_ = true;
  changed_.notify_all();
  changed_.wait_for(lock, seconds(2 * options_.timeout), [&] {
    if (ended_ || !verdict_.empty()) return true;
    if (!parted_) return false;
    return options_.rank != 0 ||
           std::all_of(peers_.begin() + 1, peers_.end(), [](const Peer& peer) { return peer.parted; });
  });
}

void Watch::linger() {
  if (options_.rank != 0) return;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kLinger, [&] {
    // Who has been silent for some beats is most likely the one that the verdict is about.
    return ended_ || std::all_of(peers_.begin() + 1, peers_.end(), [&](const Peer& peer) {
             return peer.line.empty() || peer.told || peer.parted || Clock::now() - peer.changed > 1s;
           });
  });
}

void Watch::beat() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    woken_ = false;
    lock.unlock();
    std::string lost;
    try {
      exchange();
    } catch (const std::exception&) {
      lost = lost_store();
    }
    lock.lock();
    if (!lost.empty()) {
      if (!parting_) decide(lost);
      break;
    }
    // At the end they all wait for each other's word.
    const auto pause = parting_ || !verdict_.empty() ? std::min<std::chrono::milliseconds>(period_, 20ms) : period_;
    changed_.wait_for(lock, pause, [&] { return woken_ || stopping_; });
  }
  ended_ = parted_ = true;
  changed_.notify_all();
}

/// One beat: this process's line out, the verdict (and on rank 0 the others' lines) in.
void Watch::exchange() {
  std::string line, report;
  bool parting = false;
  {
    const std::lock_guard lock(mutex_);
    line = fmt::format("{} {} {}", ++beats_, static_cast<int>(!verdict_.empty()), static_cast<int>(parting_));
    for (const int rank : suspects_) line += fmt::format(" {}", rank);
    report = report_;
    parting = parting_;
  }
  store_->set(line_key(options_.rank), line);
  if (!report.empty()) store_->compareSet(kFailure, std::string(), report);
  std::vector<std::string> keys{kFailure}, lines;
  for (int rank = 0; options_.rank == 0 && rank < options_.size; ++rank) keys.push_back(line_key(rank));
  for (const auto& value : store_->multiGet(keys)) lines.emplace_back(value.begin(), value.end());

  const std::lock_guard lock(mutex_);
  contact_ = Clock::now();
  if (parting) parted_ = true;
  if (!lines.front().empty() && verdict_.empty()) {
    decide(lines.front());
    woken_ = true;  // to say that it is read
  }
  lines.erase(lines.begin());
  if (!lines.empty()) {
    read_lines(lines);
    if (verdict_.empty() && report_.empty()) {
      report_ = silent_peer();
      woken_ = woken_ || !report_.empty();
    }
  }
  changed_.notify_all();
}

void Watch::read_lines(const std::vector<std::string>& lines) {
  const auto now = Clock::now();
  // If this process itself stood still, the others' silence in that time says nothing.
  const auto pause = read_ != Clock::time_point{} && now - read_ > 2s ? now - read_ : Clock::duration::zero();
  read_ = now;
  for (int rank = 0; rank < options_.size; ++rank) {
    auto& peer = peers_[rank];
    peer.changed += pause;
    if (lines[rank] == peer.line) continue;
    peer.line = lines[rank];
    peer.changed = now;
    std::istringstream fields(peer.line);
    std::uint64_t beats = 0;
    fields >> beats >> peer.told >> peer.parted;
    for (int suspect = 0; fields >> suspect;) {
      if (suspect >= 0 && suspect < options_.size) suspected_[suspect] = true;
    }
  }
}

/// The verdict on the process that has been silent for too long; "" if none has.
std::string Watch::silent_peer() {
  const auto now = Clock::now();
  for (int rank = 1; rank < options_.size; ++rank) {
    const auto& peer = peers_[rank];
    if (peer.line.empty() || peer.parted) continue;  // not there yet; gone with leave
    const auto silence = now - peer.changed;
    if (silence > seconds(options_.timeout)) {
      return fmt::format("{} stopped answering for {:g} s: its process hangs or was stopped, or its connection is cut",
                         name_of(rank), options_.timeout);
    }
    if (suspected_[rank] && silence > kSuspected) {
      return fmt::format("{} is gone: it closed its connections without a word (killed, perhaps for want of memory)",
                         name_of(rank));
    }
  }
  return "";
}

/// Looks at a steady clock alone, so that it works when all else hangs.
void Watch::guard() {
  std::unique_lock lock(mutex_);
  auto last = Clock::now();
  while (!(stopping_ && ended_)) {
    changed_.wait_for(lock, 100ms);
    const auto now = Clock::now();
    if (now - last > 1s) contact_ += now - last;  // this process was stopped for a while; nobody else was at fault
    last = now;
    if (!ended_ && verdict_.empty() && now - contact_ > seconds(options_.timeout)) {
      if (!parting_) decide(lost_store());
      parted_ = true;
      changed_.notify_all();
    }
    if (verdict_.empty() || parting_ || now - decided_ < kGrace) continue;
    const auto verdict = verdict_;
    lock.unlock();
    conclude_(verdict);
    lock.lock();
  }
}

void Watch::decide(const std::string& verdict) {
  if (!verdict_.empty()) return;
  verdict_ = verdict;
  decided_ = Clock::now();
  changed_.notify_all();
}

std::string Watch::lost_store() const {
  return fmt::format("lost contact with {}: its process is gone, or the connection to it is cut", options_.store_place);
}

std::string Watch::name_of(int rank) const {
  return rank < static_cast<int>(names_.size()) ? names_[rank] : fmt::format("rank {}", rank);
}

}  // namespace lorica::parallel
