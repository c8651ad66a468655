// Pipelines of 2, 3 and 4 processes give the losses, gradients and logits of one process.
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <thread>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "engine/executor_fixture.hpp"
#include "engine/torch/pipeline_channel.hpp"
#include "model/counting_allocator.hpp"
#include "parallel/partition.hpp"
#include "parallel/processes.hpp"

namespace lorica::engine {
namespace {

using config::TrainType;
using parallel::check;
using parallel::Place;
using test::batch_of;
using test::Gradients;
using test::Trainer;
using testing::ExitedWithCode;

constexpr double kDropout = 0.2;

/// Llama or, with tied embeddings, Qwen 3.
std::string model_of(const std::filesystem::path& folder, const std::string& family, int layers) {
  if (std::filesystem::exists(folder)) return folder.string();
  auto architecture = test::tiny_architecture(family);
  architecture["num_hidden_layers"] = layers;
  test::write_model(folder, architecture, test::random_weights(architecture));
  return folder.string();
}

data::MicroBatch empty_batch() {
  data::MicroBatch batch;
  batch.offsets = {0};
  return batch;
}

/// Packed and single sequences; one micro-batch without tokens and one without labels.
std::vector<data::MicroBatch> batches_of(int count) {
  std::vector<data::MicroBatch> batches;
  for (int i = 0; i < count; ++i) batches.push_back(batch_of({5 + i, 3, 7}, 10 + 3 * i));
  if (count > 3) {
    batches[1] = empty_batch();
    std::fill(batches[2].labels.begin(), batches[2].labels.end(), data::kIgnoreLabel);
  }
  return batches;
}

struct Layout {
  int stages, interleave;
  std::string partition_method = "uniform";
};

/// Leaves this process the part of the model that its stage runs.
void take_part(Model& model, const Layout& layout, parallel::World& world, const std::string& name) {
  config::Config config;
  config.pipeline_stages = layout.stages;
  model.mesh = parallel::make_mesh(config, world.place());
  std::vector<parallel::BlockFacts> blocks(model.blocks.size());
  blocks.front().kind = parallel::BlockFacts::Kind::embedding;
  blocks.back().kind = parallel::BlockFacts::Kind::head;
  const auto runs = parallel::partition(blocks, layout.partition_method, layout.stages, layout.interleave);
  model.owned.clear();
  for (const auto& run : runs.at(static_cast<std::size_t>(model.mesh.stage)))
    model.owned.push_back({run.begin, run.end});
  model.pipeline = std::make_unique<parallel::ProcessGroup>(world, name, model.mesh.pipeline_group(), model.device);
}

double total(parallel::World& world, double mine) {
  double sum = 0;
  for (const auto& values : world.all_gather({mine})) sum += values.front();
  return sum;
}

/// The sum over all stages (tied embedding and head).
at::Tensor total(parallel::World& world, const at::Tensor& mine) {
  const auto flat = mine.to(at::kDouble).contiguous().view({-1});
  auto sum = at::zeros_like(flat);
  for (const auto& values :
       world.all_gather({flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()})) {
    sum += at::tensor(values, at::kDouble);
  }
  return sum.view(mine.sizes());
}

void check_sums(const std::vector<LossSum>& found, const std::vector<LossSum>& expected, bool last_stage) {
  check(found.size() == expected.size(), "one sum for each micro-batch");
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto& [loss, tokens] = last_stage ? expected[i] : LossSum{};
    check(found[i].tokens == tokens && std::abs(found[i].loss - loss) <= 1e-6 * loss,
          fmt::format("micro-batch {}: {} of {} tokens for {} of {}", i, found[i].loss, found[i].tokens, loss, tokens));
  }
}

/// The tied weight's gradient is that of all its stages together; of every other parameter exactly one stage has it.
void check_gradients(parallel::World& world, const Trainer& part, const Gradients& expected, bool tied) {
  constexpr const char* kTied = "model.embed_tokens.weight";
  auto found = part.gradients();
  if (tied && expected.contains(kTied)) {
    const auto mine = found.contains(kTied) ? found.at(kTied) : at::zeros_like(expected.at(kTied));
    check(test::relative_difference(total(world, mine), expected.at(kTied).to(at::kDouble)) < 1e-6, "tied gradient");
    found.erase(kTied);
  }
  for (const auto& [name, gradient] : found) {
    check(expected.contains(name), name + " has a gradient");
    check(test::relative_difference(gradient, expected.at(name)) < 1e-6, "gradient of " + name);
  }
  const auto count = static_cast<double>(expected.size()) - (tied && expected.contains(kTied) ? 1 : 0);
  check(total(world, static_cast<double>(found.size())) == count, "every gradient once");
}

struct Case {
  std::string family = "llama";
  TrainType type = TrainType::lora;
  config::Recompute policy = config::Recompute::recompute;
  int micro_batches = 5;
  std::vector<std::int64_t> layers = {};  ///< that carry an adapter; all
};

void compare(const Case& item, const Layout& layout, int layers, const std::filesystem::path& folder,
             parallel::World& world, const std::string& name) {
  auto config = test::tiny_config(model_of(folder / item.family, item.family, layers), item.type);
  const double dropout = item.type == TrainType::full ? 0 : kDropout;
  config.lora_dropout = dropout;
  config.layers_to_transform = item.layers;
  Trainer whole(config, dropout, item.policy), part(config, dropout, item.policy);
  take_part(part.model, layout, world, name);
  const bool last_stage = part.model.mesh.stage + 1 == layout.stages;
  const auto batches = batches_of(item.micro_batches);
  Executor alone(whole.model, whole.options), staged(part.model, part.options);
  for (int step = 0; step < 2; ++step) {
    const auto expected = alone.forward_backward(batches, 0.01, step);
    check_sums(staged.forward_backward(batches, 0.01, step), expected, last_stage);
    check_gradients(world, part, whole.gradients(), item.family == "qwen3" && item.type == TrainType::full);
    whole.model.store->clear_gradients();
    part.model.store->clear_gradients();
  }
  check_sums(staged.evaluate(batches), alone.evaluate(batches), last_stage);
  const auto logits = staged.logits(batches.front());
  check(logits.defined() == last_stage, "logits are on the last stage");
  if (last_stage) check(test::relative_difference(logits, alone.logits(batches.front())) < 1e-6, "logits");
  const auto facts = staged.pipeline_facts();
  check(facts.idle_share > 0 && facts.idle_share < 1 && facts.bubble > 0 && facts.bubble < 1, "time is accounted for");
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto type : {TrainType::lora, TrainType::qlora, TrainType::full}) {
    for (const auto policy : {config::Recompute::keep, config::Recompute::recompute, config::Recompute::selective}) {
      all.push_back({"llama", type, policy});
    }
  }
  all.push_back({"qwen3", TrainType::full});
  for (const int count : {1, 2, 3, 8}) all.push_back({"qwen3", TrainType::qlora, config::Recompute::keep, count});
  // Gradients end half-way; earlier stages run forward only.
  all.push_back({"llama", TrainType::lora, config::Recompute::recompute, 5, {2}});
  all.push_back({"llama", TrainType::lora, config::Recompute::keep, 5, {3}});
  return all;
}

[[noreturn]] void finish(const std::vector<parallel::Exit>& exits) {
  bool good = true;
  for (std::size_t rank = 0; rank < exits.size(); ++rank) {
    if (exits[rank].code == 0) continue;
    good = false;
    std::cerr << "rank " << rank << ": " << exits[rank].output << std::endl;
  }
  if (good) std::cerr << "all agree" << std::endl;
  std::_Exit(good ? 0 : 1);
}

/// Forks from a process that has started no thread yet.
[[noreturn]] void run_stages(const Layout& layout) {
  set_thread_count(1);
  at::set_num_threads(1);
  const test::TemporaryFolder folder;
  const int layers = layout.stages * layout.interleave > 6 ? 8 : 4;
  for (const std::string family : {"llama", "qwen3"}) model_of(folder / family, family, layers);
  finish(parallel::run_processes(layout.stages, [&](const Place& place) {
    parallel::World world(config::Config{}, place);
    int number = 0;
    for (const auto& item : cases()) {
      try {
        compare(item, layout, layers, folder.path(), world, fmt::format("pipeline-{}", number));
      } catch (const std::exception& error) {
        throw parallel::CheckFailed(fmt::format("case {}: {}", number, error.what()));
      }
      ++number;
    }
    world.barrier();
    world.part();
    return std::string();
  }));
}

/// What one stage takes longer for, the other waits for: at a message and at the end of a step.
[[noreturn]] void wait_for_each_other() {
  set_thread_count(1);
  finish(parallel::run_processes(2, [&](const Place& place) {
    using namespace std::chrono_literals;
    parallel::World world(config::Config{}, place);
    parallel::ProcessGroup group(world, "pipeline", {0, 1}, at::kCPU);
    const auto schedule = parallel::training_schedule(2, 1, 1);
    PipelineChannel channel(&group, schedule, place.rank, at::kCPU);
    const PipelineChannel::Message forward{parallel::Action::Kind::forward, 1, 0},
        backward{parallel::Action::Kind::backward, 0, 0};
    world.barrier();
    if (place.rank == 0) {
      channel.expect(backward, at::zeros({3}));
      channel.send(forward, at::full({3}, 1.F));
      check(at::equal(channel.receive(backward), at::full({3}, 2.F)), "gradient");
      channel.settle(forward);
      check(channel.waited() > 0.2, fmt::format("rank 0 waited {}", channel.waited()));
      std::this_thread::sleep_for(200ms);
    } else {
      channel.expect(forward, at::zeros({3}));
      check(at::equal(channel.receive(forward), at::full({3}, 1.F)), "activation");
      std::this_thread::sleep_for(400ms);
      channel.send(backward, at::full({3}, 2.F));
      channel.flush();
    }
    const double before = channel.waited();
    channel.announce_end();
    channel.await_end();
    const double waited = channel.waited() - before;
    check(place.rank == 0 ? waited == 0 : waited > 0.05, fmt::format("waited {} at the end", waited));
    world.barrier();
    world.part();
    return std::string();
  }));
}

TEST(Pipeline, WaitingIsMeasured) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(wait_for_each_other(), ExitedWithCode(0), "all agree");
}

/// More micro-batches of a step need no more memory: neither what is kept for backward nor what waits to be sent grows.
[[noreturn]] void accumulate() {
  set_thread_count(1);
  const test::TemporaryFolder folder;
  const auto model = model_of(folder / "model", "llama", 4);
  finish(parallel::run_processes(3, [&](const Place& place) {
    parallel::World world(config::Config{}, place);
    for (const auto& layers : {std::vector<std::int64_t>{}, {3}}) {
      auto config = test::tiny_config(model, TrainType::lora);
      config.layers_to_transform = layers;
      Trainer part(config, 0, config::Recompute::keep);
      take_part(part.model, {3, 1}, world, fmt::format("pipeline-{}", layers.size()));
      Executor executor(part.model, part.options);
      const auto peak = [&](std::size_t count) {
        const std::vector<data::MicroBatch> batches(count, batch_of({40, 60}));
        world.barrier();
        test::CountingAllocator memory;
        return static_cast<double>(memory.peak_of([&] { executor.forward_backward(batches, 1, 0); }));
      };
      peak(1);  // from now on there are gradients to be added to
      const double few = peak(4), many = peak(24);
      check(many < few * 1.1, fmt::format("4 micro-batches need {} bytes, 24 need {}", few, many));
    }
    world.barrier();
    world.part();
    return std::string();
  }));
}

TEST(Pipeline, MoreMicroBatchesNeedNoMoreMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(accumulate(), ExitedWithCode(0), "all agree");
}

/// A store that fails in the middle of a step.
struct FailingStore : ResidentStore {
  FailingStore(ResidentStore&& store, int calls) : ResidentStore(std::move(store)), left(calls) {}
  model::BlockWeights acquire(std::size_t block) override {
    if (left-- == 0) throw DataError("the disk is full");
    return ResidentStore::acquire(block);
  }
  int left;
};

/// The middle one of three stages fails while its neighbours wait for it, and it has messages of theirs to come.
[[noreturn]] void fail_in_the_middle() {
  set_thread_count(1);
  const test::TemporaryFolder folder;
  const auto model = model_of(folder / "model", "llama", 4);
  const auto exits = parallel::run_processes(3, [&](const Place& place) {
    parallel::World world(config::Config{}, place);
    Trainer part(test::tiny_config(model, TrainType::lora));
    take_part(part.model, {3, 1}, world, "pipeline");
    if (place.rank == 1) {
      part.model.store = std::make_unique<FailingStore>(std::move(dynamic_cast<ResidentStore&>(*part.model.store)), 1);
    }
    world.run([&] {
      Executor(part.model, part.options).forward_backward(batches_of(1), 1, 0);
      return 0;
    });
    return std::string("ended well");
  });
  bool good = true;
  for (std::size_t rank = 0; rank < 3; ++rank) {
    const auto& exit = exits[rank];
    std::cerr << rank << ": " << exit.code << " " << exit.output << " after " << exit.seconds << " s" << std::endl;
    good = good && exit.code != 0 && exit.seconds < 15 && exit.output.find("the disk is full") != std::string::npos;
  }
  std::_Exit(good ? 0 : 1);
}

TEST(Pipeline, AFailureEndsAllStages) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(fail_in_the_middle(), ExitedWithCode(0), "rank 1: the disk is full");
}

// gtest prints parameters of a failing case.
void PrintTo(const Layout& layout, std::ostream* out) {
  *out << layout.stages << " stages x " << layout.interleave << ", " << layout.partition_method;
}

class PipelineTest : public testing::TestWithParam<Layout> {};

INSTANTIATE_TEST_SUITE_P(Layouts, PipelineTest,
                         testing::Values(Layout{2, 1}, Layout{3, 1}, Layout{4, 1}, Layout{2, 2}, Layout{3, 2},
                                         Layout{4, 2}, Layout{2, 1, "type:embedding"}),
                         [](const auto& info) {
                           return fmt::format("{}x{}{}", info.param.stages, info.param.interleave,
                                              info.param.partition_method == "uniform" ? "" : "uneven");
                         });

TEST_P(PipelineTest, GivesWhatOneProcessGives) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run_stages(GetParam()), ExitedWithCode(0), "all agree");
}

}  // namespace
}  // namespace lorica::engine
