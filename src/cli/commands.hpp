// The commands of `lorica`. Each is one file here, takes its parsed options and returns the process's exit code; errors
// are thrown (base/error.hpp) and printed by main(). Notes of the configuration are logged before a command starts.
#pragma once

#include "config/config.hpp"

namespace lorica::cli {

int run_train(const config::ParsedConfig& parsed);
int run_merge(const config::ParsedConfig& parsed);
int run_generate(const config::ParsedConfig& parsed);
int run_forward(const config::ParsedConfig& parsed);
int run_tokenize(const config::ParsedConfig& parsed);
int run_plan(const config::ParsedConfig& parsed);
int run_report(const config::ParsedConfig& parsed);
int run_options(const config::ParsedConfig& parsed);  // help.cpp

}  // namespace lorica::cli
