// The files that several processes wrote their parts of a checkpoint into: state-00001-of-00004.safetensors and so on.
// Free of Torch, so that whoever looks for a checkpoint can see whether it is whole.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lorica::engine {

/// `number` from 1.
std::string state_piece_name(int number, int of);

/// All of them, in order; empty if the folder has none. Throws ModelError naming a file that is missing or doesn't
/// belong to the others.
std::vector<std::filesystem::path> state_pieces(const std::filesystem::path& folder);

}  // namespace lorica::engine
