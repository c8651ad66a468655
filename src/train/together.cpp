#include "train/together.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/machine.hpp"
#include "base/strings.hpp"
#include "io/json.hpp"
#include "parallel/ending.hpp"

namespace fs = std::filesystem;

namespace lorica::train {

namespace {

/// body(). Why it fails is told to the others before anything comes of it, such as that rank 0 removes the folder; if
/// another process has failed before, that one is to blame: PeerError.
void blame_first(parallel::World& world, const std::function<void()>& body) {
  try {
    body();
  } catch (...) {
    const auto ending = parallel::ending_of(std::current_exception());
    if (!ending.own) throw;
    world.report_failure(ending.message);
    const auto verdict = world.failure();
    if (verdict.empty() || verdict.starts_with(fmt::format("rank {}: ", world.rank()))) throw;
    throw PeerError(verdict);
  }
}

}  // namespace

void fill_together(parallel::World* world, const fs::path& target, const std::function<void(const fs::path&)>& fill) {
  if (world == nullptr) {
    PendingFolder pending(target);
    fill(pending.path());
    pending.commit();
  } else if (world->main()) {
    PendingFolder pending(target);
    blame_first(*world, [&] {
      world->broadcast(pending.path().string());
      fill(pending.path());
      world->barrier();
      pending.commit();
    });
    world->barrier();
  } else {
    const fs::path folder = world->broadcast("");
    blame_first(*world, [&] { fill(folder); });
    world->barrier();
    world->barrier();
  }
}

void write_process_report(parallel::World& world, const engine::Engine& engine, const MovedBytes& moved,
                          std::int64_t steps, const fs::path& run_folder) {
  const auto memory = engine.memory();
  const auto report = engine.distribution();
  const auto number = [](auto value) { return static_cast<double>(value); };
  const auto per_step = [&](std::uint64_t bytes) { return number(bytes) / number(std::max<std::int64_t>(1, steps)); };
  const auto all = world.all_gather(
      {number(report.stage), number(report.replica), number(report.shard), number(memory.weights),
       number(memory.trainable), number(memory.optimizer), number(memory.gathered_peak), number(peak_resident_bytes()),
       per_step(moved.gathered), per_step(moved.reduced), per_step(moved.messages),
       moved.gather_wait / number(std::max<std::int64_t>(1, steps)), report.idle_share, report.bubble});
  if (!world.main()) return;
  static constexpr const char* kNames[] = {"stage",
                                           "replica",
                                           "shard",
                                           "weight_bytes",
                                           "trained_bytes",
                                           "optimizer_bytes",
                                           "gathered_peak_bytes",
                                           "peak_resident_bytes",
                                           "gathered_bytes_per_step",
                                           "reduced_bytes_per_step",
                                           "message_bytes_per_step",
                                           "gather_wait_seconds_per_step",
                                           "idle_share",
                                           "bubble"};
  auto list = nlohmann::ordered_json::array();
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    nlohmann::ordered_json entry{{"rank", rank}};
    for (std::size_t i = 0; i < std::size(kNames); ++i) {
      const double value = all[rank][i];
      if (i + 3 < std::size(kNames)) {
        entry[kNames[i]] = static_cast<std::int64_t>(value);
      } else {
        entry[kNames[i]] = value;
      }
    }
    const auto bytes = [&](const char* name) { return format_bytes(entry[name].get<std::uint64_t>()); };
    spdlog::info(
        "rank {} (stage {}, shard {}): weights {}, peak memory {}; sent per step: {} of parameters, {} of "
        "gradients, {} of activations; {:.3f} s waiting for parameters{}",
        rank, entry["stage"].get<int>(), entry["shard"].get<int>(), bytes("weight_bytes"), bytes("peak_resident_bytes"),
        bytes("gathered_bytes_per_step"), bytes("reduced_bytes_per_step"), bytes("message_bytes_per_step"),
        entry["gather_wait_seconds_per_step"].get<double>(),
        all[rank].back() > 0 ? fmt::format("; idle {:.1f} % of the time (bubble in theory: {:.1f} %)",
                                           100 * entry["idle_share"].get<double>(), 100 * entry["bubble"].get<double>())
                             : "");
    list.push_back(std::move(entry));
  }
  io::write_json(run_folder / "processes.json", list);
}

}  // namespace lorica::train
