// lorica tokenize: the ids of each line of a file, or a preview of a data set as training would see it.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
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

int preview(config::Config config) {
  config.preview = false;
  const auto data = train::load_data(config);
  for (const auto& line : data.account.lines()) spdlog::info("{}", line);
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
  return config.input.empty() ? preview(config) : tokenize_file(config);
}

}  // namespace lorica::cli
