// What the log says of a model that was loaded to be trained.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.hpp"

namespace lorica::train {

/// PEFT's line (print_trainable_parameters), where adapters are parameters of the model, too:
/// "trainable params: 262,144 || all params: 467,712 || trainable%: 56.0482".
std::string trainable_line(const engine::ModelFacts& facts);

/// Three lines: the model, its trainable part, what it holds. `seconds`: that loading took.
std::vector<std::string> model_lines(const engine::ModelFacts& facts, const engine::MemoryReport& memory,
                                     double seconds);

}  // namespace lorica::train
