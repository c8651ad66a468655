// lorica generate: continues prompts with a base model, or with base and adapter, without merging.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/strings.hpp"
#include "base/wording.hpp"
#include "cli/commands.hpp"
#include "data/assembler.hpp"
#include "data/templates.hpp"
#include "data/text_file.hpp"
#include "data/tokenizer_encoder.hpp"
#include "engine/engine.hpp"
#include "io/folder_kind.hpp"
#include "io/json.hpp"
#include "tokenizer/generation_config.hpp"
#include "tokenizer/tokenizer.hpp"

namespace lorica::cli {
namespace {

/// A prompt, and the columns of the row that it came from (copied to the output).
struct Prompt {
  std::string text;
  nlohmann::ordered_json row;
};

Prompt from_question(const config::Config& config, const std::string& question) {
  return {data::render_question(config.prompt_template, question), {{"prompt", question}}};
}

Prompt from_row(const config::Config& config, const nlohmann::json& row, const std::string& source) {
  if (!row.is_object()) raise<DataError>("{}: a row must be a JSON object", source);
  const bool plain = config.prompt_template == "none" || config.prompt_template == "chat" || row.contains("prompt");
  if (plain) {
    if (!row.contains("prompt") || !row.at("prompt").is_string())
      raise<DataError>("{}: has no text in the column 'prompt'", source);
    return {data::render_question(config.prompt_template, row.at("prompt").get<std::string>()), row};
  }
  std::map<std::string, std::string> fields;
  for (const auto& [name, value] : row.items()) {
    if (value.is_string()) fields[name] = value.get<std::string>();
  }
  try {
    return {data::render_prompt(data::prompt_template(config.prompt_template), fields), row};
  } catch (const DataError& error) {
    raise<DataError>("{}: {}", source, error.what());
  }
}

std::vector<Prompt> read_prompts(const config::Config& config) {
  std::vector<Prompt> prompts;
  for (const auto& text : config.prompt) prompts.push_back(from_question(config, text));
  if (!config.prompts_file.empty()) {
    const bool rows = config.prompts_file.ends_with(".jsonl");
    std::int64_t number = 0;
    for (const auto& line : split(data::read_text(config.prompts_file), '\n')) {
      const auto source = fmt::format("{}:{}", config.prompts_file, ++number);
      if (trim(line).empty()) continue;
      prompts.push_back(rows ? from_row(config, io::parse_json(line, source), source) : from_question(config, line));
    }
  }
  if (prompts.empty()) throw ConfigError("nothing to go on from: give --prompt \"…\" or --prompts_file FILE");
  return prompts;
}

/// Where an answer ends because of a stop text: its first occurrence.
std::size_t stop_position(const std::string& text, const std::vector<std::string>& stops) {
  auto end = std::string::npos;
  for (const auto& stop : stops) end = std::min(end, text.find(stop));
  return end;
}

/// Generates one answer; with `live`, prints it as it grows. A stop text is never shown, not even its beginning.
std::string answer(engine::Engine& engine, const tokenizer::Tokenizer& tokenizer, const config::Config& config,
                   const engine::GenerationOptions& options, const std::string& prompt, bool live) {
  tokenizer::StreamDecoder decoder(tokenizer, true);
  std::string text;
  std::size_t shown = 0, held = 0;
  for (const auto& stop : config.stop) held = std::max(held, stop.size());
  const auto show = [&](std::size_t end) {
    if (live && end > shown) {
      std::fwrite(text.data() + shown, 1, end - shown, stdout);
      std::fflush(stdout);
      shown = end;
    }
  };
  engine.generate(data::encode_prompt(data::TokenizerEncoder(tokenizer), prompt), options, [&](std::int32_t id) {
    text += decoder.add(id);
    const auto end = stop_position(text, config.stop);
    if (end != std::string::npos) return false;
    show(text.size() > held ? text.size() - held : 0);
    return true;
  });
  text += decoder.finish();
  text.resize(std::min(text.size(), stop_position(text, config.stop)));
  show(text.size());
  return text;
}

/// An answer ends at the tokenizer's EOS and at each id that generation_config.json or config.json names.
std::vector<std::int32_t> stop_ids(const engine::Engine& engine, const tokenizer::Tokenizer& tokenizer,
                                   const tokenizer::GenerationConfig& defaults) {
  std::vector<std::int32_t> ids(defaults.eos_ids);
  if (tokenizer.eos()) ids.push_back(*tokenizer.eos());
  for (const auto id : engine.facts().eos_ids) ids.push_back(static_cast<std::int32_t>(id));
  return ids;
}

engine::GenerationOptions generation_options(const config::Config& config) {
  engine::GenerationOptions options;
  options.max_new_tokens = config.max_new_tokens;
  options.temperature = config.temperature;
  options.top_k = config.top_k;
  options.top_p = config.top_p;
  options.seed = static_cast<std::uint64_t>(config.seed);
  return options;
}

}  // namespace

int run_generate(const config::ParsedConfig& parsed) {
  const auto& config = parsed.config;
  const auto prompts = read_prompts(config);
  const auto folder = io::find_base_model(config.model_name);
  const auto tokenizer = tokenizer::Tokenizer::load(folder);
  const auto defaults = tokenizer::read_generation_config(folder);
  auto account = tokenizer.account();
  account.add(defaults.account);
  for (const auto& line : account.lines()) spdlog::info("{}", line);
  const auto engine = engine::make_engine(config, engine::Purpose::infer);
  for (const auto& line : engine->facts().account.lines()) spdlog::warn("{}", line);
  auto options = generation_options(config);
  options.stop_ids = stop_ids(*engine, tokenizer, defaults);
  std::string lines;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const bool to_file = !config.output.empty();
    if (!to_file && prompts.size() > 1) fmt::print("{}>>> {}\n", i == 0 ? "" : "\n", prompts[i].text);
    const auto text = answer(*engine, tokenizer, config, options, prompts[i].text, !to_file);
    if (!to_file) fmt::print("\n");
    auto row = prompts[i].row;
    row["completion"] = text;
    lines += row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    ++options.seed;  // each prompt draws its own random numbers
  }
  if (!config.output.empty()) {
    write_file(config.output, lines);
    spdlog::info("wrote {} to {}", counted(static_cast<std::int64_t>(prompts.size()), "answer"), config.output);
  }
  return 0;
}

}  // namespace lorica::cli
