// lorica tokenize: the ids of each line of a file, or a data set as training would see it: a preview, or all examples
// written to a file.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/wording.hpp"
#include "cli/commands.hpp"
#include "data/preview.hpp"
#include "data/text_file.hpp"
#include "io/hub.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/data_setup.hpp"

namespace lorica::cli {
namespace {

constexpr int kPreviewed = 4;

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

int tokenize_file(const config::Config& config) {
  const auto tokenizer = tokenizer::Tokenizer::load(io::find_model(config.model_name));
  for (const auto& line : tokenizer.account().lines()) spdlog::info("{}", line);
  const auto text = data::read_text(config.input);
  std::string result;
  for (const auto& ids : tokenizer.encode_batch(lines_of(text), true))
    result += fmt::format("[{}]\n", fmt::join(ids, ", "));
  if (config.output.empty()) {
    fmt::print("{}", result);
  } else {
    write_file(config.output, result);
  }
  return 0;
}

/// {"text", "input_ids", "labels"}, as transformers has them: labels[i] is input_ids[i] or -100.
std::string line_of(const data::ExampleView& example, const tokenizer::Tokenizer& tokenizer) {
  const std::vector<std::int32_t> ids(example.tokens.begin(), example.tokens.end());
  std::vector<std::int32_t> labels(ids.size(), data::kIgnoreLabel);
  for (const auto& span : example.supervised) {
    std::copy(ids.begin() + span.begin, ids.begin() + span.end, labels.begin() + span.begin);
  }
  const nlohmann::ordered_json line{
      {"text", tokenizer.decode(ids, false)}, {"input_ids", ids}, {"labels", std::move(labels)}};
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// Writes a line for each example that training would see, a part at a time.
void write_examples(const train::TrainingData& data, const std::string& path) {
  PendingFile file(path);
  std::ofstream out(file.path(), std::ios::binary);
  for (std::int64_t i = 0; i < data.train.size(); ++i) out << line_of(data.train.example(i), *data.tokenizer);
  out.close();
  if (!out) raise<FileError>("{}: can't be written", path);
  file.commit();
  spdlog::info("wrote {} to {}", counted(data.train.size(), "example"), path);
}

int tokenize_dataset(config::Config config) {
  config.preview = false;
  const auto data = train::load_data(config);
  for (const auto& line : data.account.lines()) spdlog::info("{}", line);
  if (!config.output.empty()) {
    write_examples(data, config.output);
    return 0;
  }
  const bool color = ::isatty(STDOUT_FILENO) != 0;
  fmt::print("{}\n", data::render_preview(data.train, *data.encoder, kPreviewed, color));
  const data::BatchSampler sampler(data.train, train::sampler_options(config));
  const auto step = sampler.step_for(0, 1);
  fmt::print("The first micro-batch{}:\n{}\n", config.packing ? " (packed)" : "",
             data::render_micro_batch(step.micro_batches.front(), *data.encoder, color));
  return 0;
}

}  // namespace

int run_tokenize(const config::ParsedConfig& parsed) {
  const auto& config = parsed.config;
  return config.input.empty() ? tokenize_dataset(config) : tokenize_file(config);
}

}  // namespace lorica::cli
