#include "data/glob.hpp"

#include <fnmatch.h>

#include <algorithm>

namespace fs = std::filesystem;

namespace lorica::data {
namespace {

using Parts = std::vector<std::string>;

std::vector<fs::directory_entry> entries(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::directory_entry> found;
  // Folders that can't be read match nothing, as in a shell.
  for (fs::directory_iterator it(folder.empty() ? "." : folder, error), end; !error && it != end; it.increment(error)) {
    found.push_back(*it);
  }
  return found;
}

void match(const fs::path& folder, Parts::const_iterator part, Parts::const_iterator end,
           std::vector<fs::path>& found) {
  std::error_code ignored;
  const bool last = std::next(part) == end;
  if (*part == "**") {
    if (!last) match(folder, std::next(part), end, found);
    for (const auto& entry : entries(folder)) {
      const auto name = entry.path().filename();
      if (name.string().starts_with('.')) continue;
      // A link to a folder above would never end.
      if (entry.is_directory(ignored) && !entry.is_symlink(ignored)) match(folder / name, part, end, found);
      if (last && entry.is_regular_file(ignored)) found.push_back(folder / name);
    }
    return;
  }
  const auto path = folder / *part;
  if (!is_glob(*part) || fs::exists(path, ignored)) {  // "set[v2]" may be a folder's own name
    if (last && fs::is_regular_file(path, ignored)) found.push_back(path);
    if (!last && fs::is_directory(path, ignored)) match(path, std::next(part), end, found);
    return;
  }
  for (const auto& entry : entries(folder)) {
    const auto name = entry.path().filename();
    if (::fnmatch(part->c_str(), name.c_str(), FNM_PERIOD) != 0) continue;
    if (last && entry.is_regular_file(ignored)) found.push_back(folder / name);
    if (!last && entry.is_directory(ignored)) match(folder / name, std::next(part), end, found);
  }
}

}  // namespace

bool is_glob(const std::string& pattern) {
  return pattern.find_first_of("*?[") != std::string::npos;
}

std::vector<fs::path> files_below(const fs::path& folder) {
  const Parts everything{"**"};
  std::vector<fs::path> found;
  match(folder, everything.begin(), everything.end(), found);
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> expand_glob(const std::string& pattern) {
  const fs::path path(pattern);
  Parts parts;
  for (const auto& part : path.relative_path()) {
    if (!part.empty()) parts.push_back(part.string());
  }
  std::vector<fs::path> found;
  if (!parts.empty()) match(path.root_path(), parts.begin(), parts.end(), found);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace lorica::data
