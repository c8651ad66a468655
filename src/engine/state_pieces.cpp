#include "engine/state_pieces.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <set>

#include "base/error.hpp"

namespace fs = std::filesystem;

namespace lorica::engine {

std::string state_piece_name(int number, int of) {
  return fmt::format("state-{:05}-of-{:05}.safetensors", number, of);
}

std::vector<fs::path> state_pieces(const fs::path& folder) {
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with("state-") && name.ends_with(".safetensors")) found.insert(name);
  }
  std::vector<fs::path> pieces;
  if (found.empty()) return pieces;
  const auto at = found.begin()->find("-of-");
  const int count = at == std::string::npos ? 0 : std::atoi(found.begin()->c_str() + at + 4);
  // The first one that is not there ends it, so that the count of a damaged name makes no long list.
  for (int number = 1; number <= count; ++number) {
    const auto name = state_piece_name(number, count);
    const auto path = folder / name;
    if (found.erase(name) == 0) raise<ModelError>("{}: is missing: the checkpoint is incomplete", path.string());
    pieces.push_back(path);
  }
  if (!found.empty()) {
    raise<ModelError>("{}: doesn't belong to the other pieces of this checkpoint", (folder / *found.begin()).string());
  }
  return pieces;
}

}  // namespace lorica::engine
