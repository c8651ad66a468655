// What to type after a run: commands with its real paths.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"

namespace lorica::train {

/// `word` as a POSIX shell takes it for one word: as it is, or in single quotes.
std::string shell_word(const std::string& word);

/// generate's --prompt_template for rows of this format (as DataReport names it); "" if prompts go as they are.
std::string template_for(std::string_view row_format);

/// Commands that answer with, merge and report what `run_folder` holds after the run of `config`. `row_format`: of
/// the rows that were trained on.
std::vector<std::string> next_steps(const config::Config& config, const std::filesystem::path& run_folder,
                                    std::string_view row_format);

}  // namespace lorica::train
