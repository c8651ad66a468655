#include "train/trainer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/machine.hpp"
#include "base/strings.hpp"
#include "base/wording.hpp"
#include "engine/adapter_options.hpp"
#include "engine/engine.hpp"
#include "engine/memory_estimate.hpp"
#include "engine/scope.hpp"
#include "optim/schedule.hpp"
#include "parallel/mesh.hpp"
#include "parallel/world.hpp"
#include "train/batch_lines.hpp"
#include "train/checkpoints.hpp"
#include "train/data_setup.hpp"
#include "train/evaluation.hpp"
#include "train/interrupt.hpp"
#include "train/metrics/jsonl.hpp"
#include "train/metrics/metrics.hpp"
#include "train/model_lines.hpp"
#include "train/next_steps.hpp"
#include "train/profile/run_profiler.hpp"
#include "train/report.hpp"
#include "train/run_folder.hpp"
#include "train/schedule_options.hpp"
#include "train/together.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

using Clock = std::chrono::steady_clock;
using engine::Scope;
namespace scopes = engine::scopes;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// One training run; the methods follow its course.
class Run {
 public:
  Run(const config::ParsedConfig& parsed, parallel::World& world)
      : parsed_(parsed),
        config_(parsed.config),
        world_(world),
        mesh_(parallel::make_mesh(parsed.config, world.place())) {}

  int execute() {
    // One clock and one view of the disk decide: rank 0's.
    folder_ = world_.broadcast(world_.main() ? choose_folders().string() : "");
    engine::check_start(config_);  // before the data are read, which may take hours
    read_data();
    auto options = sampler_options(config_);
    options.data_parallel = mesh_.data_parallel();
    sampler_ = std::make_unique<data::BatchSampler>(data_.train, options);
    engine::check_memory(config_, sampler_->largest_micro_batch().tokens(),
                         heaviest_evaluation(data_.eval, config_.batch_size));
    load_engine();
    plan_steps();
    resume();
    open_folder();
    start_profiler();
    const InterruptGuard interrupt;
    start_->ready_seconds = seconds_since_process_start();
    rehearse();
    start_->first_step_seconds = seconds_since_process_start();
    const bool finished = train(interrupt);
    conclude(finished);
    world_.barrier();
    world_.part();
    return 0;
  }

 private:
  fs::path choose_folders() const;
  void read_data();
  void load_engine();
  void plan_steps();
  void resume();
  void open_folder();
  void start_profiler();
  bool first_is_heaviest(const data::MicroBatch& heaviest) const;
  void rehearse();
  bool train(const InterruptGuard& interrupt);
  data::StepBatch next_batch();
  void train_step(const InterruptGuard& interrupt);
  /// What the processes tell each other after a step.
  struct Tally {
    engine::LossSum sum;
    double flops = 0;
    std::uint64_t peak_memory = 0;
  };
  /// Of the device, or of the process where that is the CPU.
  std::uint64_t peak_memory() const;
  Tally tally(const Tally& mine, const InterruptGuard& interrupt);
  void evaluate();
  bool is_evaluation_due() const;
  bool is_checkpoint_due() const;
  bool is_checkpoint_due_by_time() const;
  void checkpoint();
  void record_end();
  void conclude(bool finished);
  [[noreturn]] void stop_at_bad_loss(double loss, std::size_t index, const data::MicroBatch& batch) const;
  double epochs_done() const;
  parallel::World* several() const { return world_.size() > 1 ? &world_ : nullptr; }

  const config::ParsedConfig& parsed_;
  const config::Config& config_;
  parallel::World& world_;
  parallel::Mesh mesh_;
  fs::path folder_;
  TrainingData data_;
  std::unique_ptr<data::BatchSampler> sampler_;
  std::unique_ptr<engine::Engine> engine_;
  engine::ModelFacts facts_;
  std::unique_ptr<MetricsWriter> metrics_;
  std::unique_ptr<RunProfiler> profiler_;
  optim::ScheduleOptions schedule_;
  EvaluationSchedule evaluations_;
  std::optional<StartMetrics> start_;  ///< until the first record took it
  double matrix_gflops_ = 0;
  std::int64_t step_ = 0, total_steps_ = 0, last_evaluated_ = -1, last_saved_ = -1;
  std::int64_t first_step_ = 0;
  bool trained_ = false;                                 ///< some step of this session had a learning rate
  MovedBytes moved_;                                     ///< in steps alone: not by loading, the trial, evaluations
  bool interrupted_ = false, timed_checkpoint_ = false;  // as agreed by all processes
  std::optional<std::int64_t> resumed_step_;
  Clock::time_point last_checkpoint_ = Clock::now();
};

fs::path Run::choose_folders() const {
  auto folder = choose_run_folder(config_);
  check_profiling_folder(config_, folder);
  return folder;
}

/// Rank 0 first: it tokenizes, the others find its cache.
void Run::read_data() {
  if (world_.main()) data_ = load_data(config_);
  world_.barrier();
  if (world_.main()) return;
  auto quiet = config_;
  quiet.preview = false;
  data_ = load_data(quiet);
}

void Run::load_engine() {
  const auto start = Clock::now();
  engine_ = engine::make_engine(config_, engine::Purpose::train, &world_);
  facts_ = engine_->facts();
  start_ = StartMetrics{seconds_since(start), peak_resident_bytes(), 0, 0, facts_.recompute};
  check_token_ids(data_.train, facts_.vocabulary, *data_.tokenizer);
  check_token_ids(data_.eval, facts_.vocabulary, *data_.tokenizer);
  for (const auto& line : model_lines(facts_, engine_->memory(), seconds_since(start))) spdlog::info("{}", line);
  for (const auto& module : facts_.adapted) spdlog::debug("an adapter is trained on {}", module);
}

void Run::plan_steps() {
  total_steps_ = config_.max_steps > 0 ? config_.max_steps : sampler_->total_steps(config_.num_epochs);
  const auto per_epoch = sampler_->steps_in_epoch(0);
  schedule_ = schedule_options(config_, total_steps_, static_cast<double>(per_epoch));
  evaluations_ = EvaluationSchedule(config_, per_epoch, !data_.eval.empty());
  const auto processes = mesh_.data_parallel() > 1 ? " x " + counted(mesh_.data_parallel(), "process") : std::string();
  spdlog::info("{} of {} x {}{} ({} an epoch)", counted(total_steps_, "step"), config_.gradient_accumulation_steps,
               counted(config_.batch_size, "example"), processes, format_count(per_epoch));
}

void Run::resume() {
  if (config_.resume.empty()) return;
  const fs::path checkpoint = world_.broadcast(world_.main() ? find_checkpoint(config_, folder_).string() : "");
  if (world_.main()) warn_of_changes(config_, folder_);
  const auto state = read_checkpoint_state(checkpoint);
  engine_->load_state(checkpoint);
  sampler_->restore(state.at("sampler"));
  step_ = state.at("step").get<std::int64_t>();
  resumed_step_ = first_step_ = step_;
  last_saved_ = step_;
  spdlog::info("resuming from {} at step {} of {}", checkpoint.string(), step_, total_steps_);
  if (step_ >= total_steps_) {
    spdlog::info("nothing is left to train: raise --num_epochs or --max_steps to go on");
  }
}

void Run::open_folder() {
  if (!world_.main()) return;
  prepare_run_folder(config_, folder_);
  prepare_profiling_folder(config_, folder_);
  MetricsOptions options;
  options.run_folder = folder_;
  options.resumed_step = resumed_step_;
  options.log_every = config_.log_every_n_steps;
  apply_log_to(config_.log_to, options);
  metrics_ = std::make_unique<MetricsWriter>(options);
  auto account = data_.account;  // of rows and files; then of the model and of options
  account.add(facts_.account);
  account.add(parsed_.account);
  record_account(account, folder_);
}

void Run::start_profiler() {
  const RunProfiler::Place place{folder_, facts_.device, world_.rank(), world_.size(), step_, total_steps_};
  profiler_ = std::make_unique<RunProfiler>(config_, place, [this] { return engine_->memory(); });
}

/// Whether the step that comes holds a micro-batch that asks for as much memory as `heaviest`.
bool Run::first_is_heaviest(const data::MicroBatch& heaviest) const {
  const auto longest = [](const data::MicroBatch& batch) {
    std::int32_t most = 0;
    for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
      most = std::max(most, batch.offsets[s + 1] - batch.offsets[s]);
    }
    return most;
  };
  const auto batches = sampler_->step_for(mesh_.data_rank(), mesh_.data_parallel()).micro_batches;
  return std::any_of(batches.begin(), batches.end(), [&](const data::MicroBatch& batch) {
    return batch.tokens() >= heaviest.tokens() && longest(batch) >= longest(heaviest);
  });
}

/// The heaviest micro-batch and one evaluation batch before the first step, so that what would run out of memory does
/// so now and not hours in. Where the first step is as heavy as any (rows that are all cut to one
/// length), it is the trial itself. Several processes always try: what one leaves out, the others would wait for.
void Run::rehearse() {
  if (step_ >= total_steps_) return;
  const auto heaviest = sampler_->largest_micro_batch();
  std::string outcome = "the first step is as heavy as any";
  if (world_.size() > 1 || !first_is_heaviest(heaviest)) {
    // As many as a pipeline's first stage holds at a time.
    const std::vector<data::MicroBatch> in_flight(
        static_cast<std::size_t>(std::min<std::int64_t>(mesh_.stages, config_.gradient_accumulation_steps)), heaviest);
    engine_->rehearse(in_flight, step_, !config_.apply_gradient_clipping);
    outcome = fmt::format("the heaviest micro-batch ({} in {}) ran; peak memory so far {}",
                          counted(heaviest.tokens(), "token"), counted(heaviest.sequences(), "sequence"),
                          format_bytes(peak_memory()));
  }
  matrix_gflops_ = engine::measure_matrix_speed(config_);
  spdlog::info("{}; matrix products run at {:.0f} GFLOP/s here", outcome, matrix_gflops_);
  if (evaluations_.active() && !resumed_step_) evaluate();
}

bool Run::train(const InterruptGuard& interrupt) {
  while (step_ < total_steps_) {
    if (interrupted_ || (world_.size() == 1 && interrupt.requested())) return false;
    profiler_->begin(step_);
    train_step(interrupt);
    if (is_evaluation_due()) evaluate();
    if (is_checkpoint_due()) checkpoint();
    profiler_->end(step_ - 1);
  }
  return true;
}

std::uint64_t Run::peak_memory() const {
  const auto device = engine_->memory().device_reserved_peak;
  return device > 0 ? device : peak_resident_bytes();
}

Run::Tally Run::tally(const Tally& mine, const InterruptGuard& interrupt) {
  const Scope scope(scopes::kMeet);
  const bool due = world_.main() && is_checkpoint_due_by_time();
  const auto all =
      world_.all_gather({mine.sum.loss, static_cast<double>(mine.sum.tokens), mine.flops,
                         static_cast<double>(peak_memory()), interrupt.requested() ? 1.0 : 0.0, due ? 1.0 : 0.0});
  Tally total;
  for (const auto& values : all) {
    total.sum.loss += values[0];
    total.sum.tokens += static_cast<std::int64_t>(values[1]);
    total.flops += values[2];
    total.peak_memory = std::max(total.peak_memory, static_cast<std::uint64_t>(values[3]));
    interrupted_ = interrupted_ || values[4] > 0;
  }
  timed_checkpoint_ = all.front()[5] > 0;
  return total;
}

data::StepBatch Run::next_batch() {
  const Scope scope(scopes::kData);
  return sampler_->step_for(mesh_.data_rank(), mesh_.data_parallel());
}

void Run::train_step(const InterruptGuard& interrupt) {
  const auto start = Clock::now();
  const Scope scope(scopes::kStep, step_ + 1);
  const auto batch = next_batch();
  if (spdlog::should_log(spdlog::level::debug)) {
    for (const auto& line : batch_lines(batch, data_.train, step_ + 1)) spdlog::debug("{}", line);
  }
  Tally mine;
  const auto before = engine_->distribution();
  // Normalized once, by the supervised tokens of the whole step: no layout of micro-batches changes the loss.
  const double lr = config_.lr * optim::learning_rate_factor(schedule_, step_, total_steps_);
  trained_ = trained_ || lr > 0;  // not by the first step of a warm-up
  const auto limit = config_.apply_gradient_clipping ? std::optional(config_.grad_norm) : std::nullopt;
  const auto parts = engine_->forward_backward(batch.micro_batches, 1.0 / static_cast<double>(batch.supervised), step_,
                                               limit ? std::nullopt : std::optional(lr));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& micro = batch.micro_batches[i];
    if (!std::isfinite(parts[i].loss)) stop_at_bad_loss(parts[i].loss, i, micro);
    mine.sum.loss += parts[i].loss;
    mine.sum.tokens += parts[i].tokens;
    mine.flops += engine_->matrix_flops(micro);
  }
  engine::UpdateResult update;
  try {
    update = engine_->optimizer_step(lr, limit);
  } catch (const TrainingError& error) {
    raise<TrainingError>("step {}: {}. Nothing of it was saved; {}", step_ + 1, error.what(), last_good(folder_));
  }
  const auto after = engine_->distribution();
  moved_.gathered += after.gathered - before.gathered;
  moved_.reduced += after.reduced - before.reduced;
  moved_.messages += after.messages - before.messages;
  moved_.gather_wait += after.gather_wait - before.gather_wait;
  sampler_->advance();
  ++step_;
  const auto total = tally(mine, interrupt);
  if (!metrics_) return;
  const Scope writing(scopes::kMetrics);
  StepMetrics metrics;
  metrics.step = step_;
  metrics.total_steps = total_steps_;
  metrics.epoch = epochs_done();
  metrics.loss = total.sum.loss / static_cast<double>(total.sum.tokens);
  metrics.lr = lr;
  metrics.grad_norm = update.gradient_norm;
  metrics.tokens = batch.tokens;
  metrics.supervised_tokens = batch.supervised;
  metrics.examples = batch.examples;
  metrics.step_seconds = seconds_since(start);
  metrics.tokens_per_second = static_cast<double>(batch.tokens) / metrics.step_seconds;
  if (matrix_gflops_ > 0) {
    // Other programs may have run while the speed was measured: what a step reaches is possible.
    const double reached = total.flops / world_.size() / metrics.step_seconds / 1e9;
    matrix_gflops_ = std::max(matrix_gflops_, reached);
    metrics.matmul_share = reached / matrix_gflops_;
  }
  metrics.peak_memory_bytes = total.peak_memory;
  if (const auto peak = engine_->memory().device_allocated_peak; peak > 0) {
    metrics.peak_allocated_bytes = static_cast<double>(peak);
  }
  metrics.start = std::exchange(start_, std::nullopt);
  metrics_->step(metrics);
}

void Run::stop_at_bad_loss(double loss, std::size_t index, const data::MicroBatch& batch) const {
  std::vector<std::string> origins;
  for (std::size_t s = 0; s < batch.examples.size() && s < 8; ++s)
    origins.push_back(origin_of(data_.train, batch.examples[s]));
  raise<TrainingError>(
      "step {}: the loss of micro-batch {} is {} (examples: {}). Nothing was updated; {} A lower --lr, "
      "--apply_gradient_clipping true or --precision fp32 may help.",
      step_ + 1, index + 1, loss, join(origins, ", "), last_good(folder_));
}

double Run::epochs_done() const {
  const auto epoch = sampler_->epoch();
  return static_cast<double>(epoch) +
         static_cast<double>(sampler_->step_in_epoch()) / static_cast<double>(sampler_->steps_in_epoch(epoch));
}

void Run::evaluate() {
  const Scope scope(scopes::kEvaluation);
  const auto start = Clock::now();
  const auto together = mesh_.stages == 1                              ? 1
                        : config_.eval_gradient_accumulation_steps > 0 ? config_.eval_gradient_accumulation_steps
                                                                       : config_.gradient_accumulation_steps;
  engine::LossSum mine, sum;
  over_evaluation_batches(data_.eval, config_.batch_size, {mesh_.data_rank(), mesh_.data_parallel(), together},
                          [&](std::span<const data::MicroBatch> batches) {
                            for (const auto& part : engine_->evaluate(batches)) {
                              mine.loss += part.loss;
                              mine.tokens += part.tokens;
                            }
                          });
  for (const auto& values : world_.all_gather({mine.loss, static_cast<double>(mine.tokens)})) {
    sum.loss += values[0];
    sum.tokens += static_cast<std::int64_t>(values[1]);
  }
  last_evaluated_ = step_;
  if (!metrics_) return;
  EvalMetrics metrics;
  metrics.step = step_;
  metrics.epoch = epochs_done();
  metrics.loss = sum.loss / static_cast<double>(sum.tokens);
  metrics.perplexity = std::exp(metrics.loss);
  metrics.tokens = sum.tokens;
  metrics.examples = data_.eval.size();
  metrics.seconds = seconds_since(start);
  metrics_->evaluation(metrics);
}

bool Run::is_evaluation_due() const {
  return evaluations_.due(step_, step_ == total_steps_) && last_evaluated_ != step_;
}

bool Run::is_checkpoint_due() const {
  if (!config_.save_model) return false;
  return timed_checkpoint_ || (config_.save_steps > 0 && step_ % config_.save_steps == 0);
}

bool Run::is_checkpoint_due_by_time() const {
  return config_.checkpoint_interval_hours > 0 &&
         seconds_since(last_checkpoint_) >= config_.checkpoint_interval_hours * 3600;
}

void Run::checkpoint() {
  const Scope scope(scopes::kCheckpoint);
  const auto start = Clock::now();
  const nlohmann::json state{{"step", step_}, {"total_steps", total_steps_}, {"sampler", sampler_->state()}};
  save_checkpoint(
      folder_, step_, state, config_.save_total_limit,
      [&](const fs::path& path) {
        engine_->save_state(path);
        if (world_.main()) write_file(path / kConfigFile, config::to_toml(config_));
      },
      several());
  timed_checkpoint_ = false;
  last_checkpoint_ = Clock::now();
  last_saved_ = step_;
  if (metrics_) {
    metrics_->checkpoint(step_, folder_ / fmt::format("checkpoint-{}", step_), seconds_since(start));
  }
}

/// The last record, and what each of several processes held: of the whole session, saving and its check included.
void Run::record_end() {
  if (world_.size() > 1) write_process_report(world_, *engine_, moved_, step_ - first_step_, folder_);
  double peak = 0;
  for (const auto& values : world_.all_gather({static_cast<double>(peak_memory())})) peak = std::max(peak, values[0]);
  if (!metrics_) return;
  metrics_->end({step_, seconds_since_process_start(), static_cast<std::uint64_t>(peak)});
  spdlog::info("peak memory of the run to its end: {}", format_bytes(static_cast<std::uint64_t>(peak)));
}

void Run::conclude(bool finished) {
  profiler_->finish();
  if (metrics_) metrics_->finish();
  if (!finished) {
    if (config_.save_model && last_saved_ != step_) checkpoint();
    record_end();
    spdlog::info("interrupted after step {} of {}{}", step_, total_steps_,
                 config_.save_model ? fmt::format("; go on with --resume true (state: {})",
                                                  (folder_ / fmt::format("checkpoint-{}", step_)).string())
                                    : "; nothing was saved (--save_model false)");
    return;
  }
  if (config_.save_model) {
    save_final(*engine_, folder_, sampler_->largest_micro_batch(), trained_, several());
  }
  record_end();
  if (!world_.main()) return;
  if (step_ > 0) write_report(folder_);
  spdlog::info("run folder: {} (metrics.jsonl, {}/ for TensorBoard, plots/{})", folder_.string(), "runs",
               config_.save_model ? ", final/" : "");
  spdlog::info("next:\n  {}", join(next_steps(config_, folder_, data_.row_format), "\n  "));
}

}  // namespace

int run_training(const config::ParsedConfig& asked) {
  auto parsed = asked;
  parallel::World world(parsed.config, parallel::find_place(parsed.config));
  // Outlives an error: what it holds may wait for processes that are gone, and must not be destroyed before the others
  // are told.
  std::unique_ptr<Run> run;
  return world.run([&] {
    engine::adopt_adapter_options(parsed);
    run = std::make_unique<Run>(parsed, world);
    return run->execute();
  });
}

}  // namespace lorica::train
