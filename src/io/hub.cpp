#include "io/hub.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/strings.hpp"

namespace fs = std::filesystem;

namespace lorica::io {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

fs::path home() {
  const auto folder = environment("HOME");
  return folder.empty() ? fs::path(".") : fs::path(folder);
}

/// "~/x" → HOME/x, as the Hub's own library does with these variables.
fs::path expand_home(const std::string& path) {
  if (path == "~") return home();
  return path.starts_with("~/") ? home() / path.substr(2) : fs::path(path);
}

bool is_commit(const std::string& text) {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// A branch or tag may hold slashes ("refs/pr/1"), but must not lead out of the refs folder.
bool is_safe_revision(const std::string& text) {
  const fs::path path(text);
  return !text.empty() && !path.is_absolute() &&
         std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
}

/// A model or an adapter.
bool has_model(const fs::path& folder) {
  return fs::exists(folder / "config.json") || fs::exists(folder / "adapter_config.json");
}

}  // namespace

fs::path hub_cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const auto path = environment(name); !path.empty()) return expand_home(path);
  }
  if (const auto path = environment("HF_HOME"); !path.empty()) return expand_home(path) / "hub";
  if (const auto path = environment("XDG_CACHE_HOME"); !path.empty()) return expand_home(path) / "huggingface" / "hub";
  return home() / ".cache" / "huggingface" / "hub";
}

bool is_hub_id(const std::string& name) {
  const auto parts = split(name, '/');
  if (parts.size() > 2 || name.size() > 96) return false;
  return std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
    return !part.empty() && part.front() != '.' && part.front() != '-' &&
           std::all_of(part.begin(), part.end(), [](unsigned char c) {
             return c < 0x80 && (std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.');
           });
  });
}

fs::path find_model(const std::string& name, const std::string& revision) {
  return find_model(name, revision, hub_cache_folder());
}

fs::path find_model(const std::string& name, const std::string& revision, const fs::path& cache) {
  if (name.empty()) raise<FileError>("the model's name is empty: give a model folder or a Hub id");
  if (const auto path = expand_home(name); fs::exists(path)) return path;
  if (!is_hub_id(name)) {
    raise<FileError>("{}: no such folder. Give a Hugging Face model folder, or a Hub id such as organisation/name.",
                     name);
  }
  if (!is_safe_revision(revision)) raise<FileError>("{}: \"{}\" is not a revision", name, revision);
  const auto fetch = fmt::format("Downloading is not built yet. Fetch it with: hf download {}{}", name,
                                 revision == "main" ? "" : " --revision " + revision);
  const auto entry = cache / ("models--" + replace_all(name, "/", "--"));
  if (!fs::is_directory(entry)) {
    raise<FileError>("{}: no such folder, and no model of that name in the Hub cache {}. {}", name, cache.string(),
                     fetch);
  }
  std::string commit = revision;
  if (const auto ref = entry / "refs" / revision; fs::is_regular_file(ref)) {
    commit = trim(read_file(ref));
  } else if (!is_commit(revision)) {
    raise<FileError>("{}: the Hub cache {} has no revision \"{}\" of it. {}", name, cache.string(), revision, fetch);
  }
  const auto snapshot = entry / "snapshots" / commit;
  if (!is_commit(commit) || !fs::is_directory(snapshot)) {
    raise<FileError>("{}: revision \"{}\" is known to the Hub cache {}, but its files are not there. {}", name,
                     revision, cache.string(), fetch);
  }
  if (!has_model(snapshot)) {
    raise<FileError>(
        "{}: {} holds no config.json or adapter_config.json: only some of the model's files were fetched. {}", name,
        snapshot.string(), fetch);
  }
  return snapshot;
}

}  // namespace lorica::io
