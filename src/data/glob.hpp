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

/// Every file in the folder and below it, sorted by name; hidden ones and linked folders are left out.
std::vector<std::filesystem::path> files_below(const std::filesystem::path& folder);

}  // namespace lorica::data
