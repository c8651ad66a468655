// data_table < request.json: what the data layer makes of files, as JSON, for tests/parity/test_data.py.
// {"dataset": …, "path": …, "tokenizer": folder, "context_length": …, "truncation": …, "train_on": …, "format": …,
//  "dataset_samples": …, "seed": …, "skip_bad_rows": …, "sampler": {"batch_size", "accumulation", "packing", "epochs"}}
// The reply: {"examples": [{"tokens", "labels"}], "report": {…}, "steps": [[{"examples", "input_ids", "labels",
// "offsets"}]]}; with {"permutation": n, "seed": s} alone: {"permutation": […]}.
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "data/dataset.hpp"
#include "data/numpy_random.hpp"
#include "data/sampler.hpp"
#include "data/tokenizer_encoder.hpp"

namespace {

using nlohmann::json;
using namespace lorica::data;

/// An option's value by its name; the first one if the request has none.
template <class Enum>
Enum choice(const json& request, const char* key) {
  const auto words = words_of(Enum{});
  const auto name = request.value(key, std::string(words.front().name));
  for (const auto& word : words) {
    if (word.name == name) return word.value;
  }
  throw std::runtime_error("unknown name of " + std::string(key) + ": " + name);
}

DataOptions options_of(const json& request) {
  DataOptions options;
  options.sources = {{.dataset = request.at("dataset"), .path = request.value("path", "")}};
  options.context_length = request.value("context_length", options.context_length);
  options.truncation = choice<Truncation>(request, "truncation");
  options.train_on = choice<TrainOn>(request, "train_on");
  options.format = choice<DatasetFormat>(request, "format");
  options.dataset_samples = request.value("dataset_samples", options.dataset_samples);
  options.seed = request.value("seed", options.seed);
  options.skip_bad_rows = request.value("skip_bad_rows", false);
  return options;
}

json steps_of(const TokenizedDataset& dataset, const json& request, std::int64_t context_length) {
  BatchSampler sampler(dataset, {.batch_size = request.value("batch_size", 1),
                                 .accumulation = request.value("accumulation", 1),
                                 .packing = request.value("packing", false),
                                 .context_length = context_length});
  auto steps = json::array();
  for (auto left = sampler.total_steps(request.value("epochs", 1)); left > 0; --left) {
    auto step = json::array();
    for (const auto& batch : sampler.next().micro_batches) {
      step.push_back({{"examples", batch.examples},
                      {"input_ids", batch.input_ids},
                      {"labels", batch.labels},
                      {"positions", batch.positions},
                      {"offsets", batch.offsets}});
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

json answer(const json& request) {
  if (request.contains("permutation")) {
    return {{"permutation", numpy_permutation(request.at("seed"), request.at("permutation"))}};
  }
  const auto tokenizer = lorica::tokenizer::Tokenizer::load(request.at("tokenizer").get<std::string>());
  const TokenizerEncoder encoder(tokenizer);
  const auto options = options_of(request);
  DataReport report;
  const auto dataset = load_dataset(options, encoder, report);
  json reply = {{"examples", json::array()}, {"report", report}};
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    const auto batch = make_micro_batch(dataset, std::vector<std::int64_t>{i});
    reply["examples"].push_back({{"tokens", batch.input_ids}, {"labels", batch.labels}});
  }
  if (request.contains("sampler")) reply["steps"] = steps_of(dataset, request.at("sampler"), options.context_length);
  return reply;
}

}  // namespace

int main() {
  try {
    std::cout << answer(json::parse(std::cin)).dump() << '\n';
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
