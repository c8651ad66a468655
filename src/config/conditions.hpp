// The conditions that rows of the option table name: when an option can act, and what to say where it can't.
#pragma once

#include "config/option.hpp"

namespace lorica::config::needs {

Condition quantization();  ///< the base model is quantized while it is loaded
Condition blocks();        ///< its format has blocks with a scale each
Condition adapters();      ///< something is trained on top of the weights
Condition clipping();
Condition schedule(std::initializer_list<Scheduler> any_of);
Condition optimizer(std::initializer_list<OptimizerKind> any_of);
Condition evaluation();  ///< there is something to evaluate on
Condition saving();
Condition several_processes();
Condition shards();  ///< parameters are spread over processes
Condition hybrid();
Condition accumulation();
Condition pipeline();
Condition profile();
Condition any_profile();
Condition named_dataset(std::initializer_list<const char*> any_of);
Condition sampling();       ///< generate draws tokens
Condition no_input_file();  ///< tokenize reads a data set, not --input
/// Some other option, of which the text says what is wrong: "without packing".
Condition that(std::string needs, std::function<bool(const Config&)> holds, std::string otherwise);
/// The same, refused.
Condition surely(std::string needs, std::function<bool(const Config&)> holds, std::string otherwise);

}  // namespace lorica::config::needs
