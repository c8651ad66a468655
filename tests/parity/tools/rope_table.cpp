// rope_table CONFIG.json LENGTH…: the rope table of a config for each sequence length, as JSON, for
// tests/parity/test_rope.py.
#include <nlohmann/json.hpp>

#include <iostream>
#include <string>

#include "base/error.hpp"
#include "base/files.hpp"
#include "model/architecture.hpp"

int main(int count, char** arguments) {
  try {
    const std::string path = count > 1 ? arguments[1] : "";
    const auto config = lorica::model::parse_architecture(nlohmann::json::parse(lorica::read_file(path)), path);
    auto tables = nlohmann::json::array();
    for (int i = 2; i < count; ++i) {
      const auto& rope = config.ropes.at(0);
      const auto table =
          lorica::model::rope_frequencies(rope.config, rope.head_dim, config.max_positions, std::stoll(arguments[i]));
      tables.push_back(
          {{"inverse_frequencies", table.inverse_frequencies}, {"attention_scaling", table.attention_scaling}});
    }
    std::cout << tables.dump() << '\n';
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
