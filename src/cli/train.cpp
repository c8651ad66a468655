// lorica train
#include "cli/commands.hpp"
#include "train/trainer.hpp"

namespace lorica::cli {

int run_train(const config::ParsedConfig& parsed) {
  return train::run_training(parsed);
}

}  // namespace lorica::cli
