// lorica forward: logits of given token ids, as a safetensors file. The door that parity tests and curious users go
// through.
#include <fmt/format.h>

#include <filesystem>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "cli/commands.hpp"
#include "engine/engine.hpp"
#include "io/safetensors.hpp"

namespace lorica::cli {
namespace {

/// One sequence of ids as a batch of its own; checks each id against the vocabulary.
data::MicroBatch batch_of(const std::int64_t* ids, std::int64_t length, std::int64_t vocabulary,
                          const std::string& file) {
  data::MicroBatch batch;
  for (std::int64_t i = 0; i < length; ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) {
      raise<DataError>("{}: input_ids holds {}, but the model's embedding has {} rows", file, ids[i], vocabulary);
    }
    batch.input_ids.push_back(static_cast<std::int32_t>(ids[i]));
    batch.positions.push_back(static_cast<std::int32_t>(i));
  }
  batch.labels.assign(batch.input_ids.size(), data::kIgnoreLabel);
  batch.offsets = {0, static_cast<std::int32_t>(length)};
  batch.examples = {0};
  return batch;
}

}  // namespace

int run_forward(const config::ParsedConfig& parsed) {
  const auto& config = parsed.config;
  const io::SafetensorsFile file(config.input);
  const auto* ids = file.find("input_ids");
  if (ids == nullptr || ids->dtype != io::Dtype::i64 || ids->shape.size() != 2 || ids->elements() == 0) {
    raise<DataError>("{}: needs a tensor 'input_ids' of type I64 and shape [batch, sequence]", config.input);
  }
  const auto engine = engine::make_engine(config, engine::Purpose::infer);
  const auto facts = engine->facts();
  for (const auto& line : facts.account.lines()) spdlog::warn("{}", line);
  const auto vocabulary = facts.vocabulary;
  const auto rows = ids->shape[0], length = ids->shape[1];
  std::vector<float> all;
  all.reserve(static_cast<std::size_t>(rows * length * vocabulary));
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto* begin = reinterpret_cast<const std::int64_t*>(ids->data) + row * length;
    const auto logits = engine->logits(batch_of(begin, length, vocabulary, config.input));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  io::save_safetensors(config.output, {{"logits", io::Dtype::f32, {rows, length, vocabulary}, all.data()}});
  spdlog::info("wrote logits [{}, {}, {}] to {}", rows, length, vocabulary, config.output);
  return 0;
}

}  // namespace lorica::cli
