#include "train/next_steps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/strings.hpp"

namespace lorica::train {

std::string shell_word(const std::string& word) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./:=@%+,").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return word;
  return "'" + replace_all(word, "'", "'\\''") + "'";
}

std::string template_for(std::string_view row_format) {
  static constexpr std::pair<std::string_view, const char*> kTemplates[] = {{"instruction", "alpaca"},
                                                                            {"question_answer", "orca_math"},
                                                                            {"context_question", "sql"},
                                                                            {"human_assistant", "guanaco"},
                                                                            {"messages", "chat"}};
  for (const auto& [format, name] : kTemplates) {
    if (format == row_format) return name;
  }
  return "";
}

std::vector<std::string> next_steps(const config::Config& config, const std::filesystem::path& run_folder,
                                    std::string_view row_format) {
  const auto path = [](const std::filesystem::path& path) { return shell_word(path.string()); };
  std::vector<std::string> commands;
  const auto prompt_template = template_for(row_format);
  const auto ask = (prompt_template.empty() ? "" : " --prompt_template " + prompt_template) + " --prompt \"...\"";
  if (config.save_model && config.train_type == config::TrainType::full) {
    commands.push_back(fmt::format("lorica generate --model_name {}{}", path(run_folder / "final"), ask));
  } else if (config.save_model) {
    const auto model = shell_word(config.model_name), adapter = path(run_folder / "final");
    std::string bits;
    if (config.load_format == config::LoadFormat::dummy)
      bits = fmt::format(" --load_format dummy --seed {}", config.seed);
    if (config.train_type == config::TrainType::qlora && config.n_bits != 16) {
      bits += fmt::format(" --n_bits {}", config.n_bits);
      if (config.quant_type == config::QuantType::fp4) bits += " --quant_type fp4";
      if (config.quant_blocksize != 64) bits += fmt::format(" --quant_blocksize {}", config.quant_blocksize);
      if (!config.double_quant) bits += " --double_quant false";
    }
    commands.push_back(fmt::format("lorica generate --model_name {}{} --adapter {}{}", model, bits, adapter, ask));
    commands.push_back(fmt::format("lorica merge --model_name {} --adapter {} --output {}", model, adapter,
                                   path(run_folder / "merged")));
  }
  commands.push_back(fmt::format("lorica report {}", path(run_folder)));
  return commands;
}

}  // namespace lorica::train
