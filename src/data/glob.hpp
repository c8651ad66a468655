// Patterns of file names.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lorica::data {

bool is_glob(const std::string& pattern);
/// The files that match, sorted by name. `*`, `?` and `[…]` stay within one part of a path, `**` stands for any number
/// of folders. Hidden files match only a pattern that begins with a dot.
std::vector<std::filesystem::path> expand_glob(const std::string& pattern);

}  // namespace lorica::data
