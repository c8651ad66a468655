// All weights of a model folder as one map from tensor name to mapped bytes.
#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/strings.hpp"
#include "io/json.hpp"
#include "io/safetensors.hpp"

namespace fs = std::filesystem;

namespace lorica::io {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

/// What to say of a folder without weights that we read.
[[noreturn]] void raise_no_weights(const fs::path& folder) {
  std::vector<std::string> pickles;
  bool gguf = false;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto extension = entry.path().extension();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth") pickles.push_back(entry.path().filename());
    gguf = gguf || extension == ".gguf";
  }
  if (!pickles.empty()) {
    std::sort(pickles.begin(), pickles.end());
    raise<ModelError>(
        "{}: holds no safetensors weights, only pickles ({}). A pickle can run any code, so Lorica doesn't open it. "
        "Convert it with transformers (save_pretrained writes safetensors), or fetch the safetensors version.",
        folder.string(), pickles.size() > 3 ? pickles.front() + ", …" : join(pickles, ", "));
  }
  if (gguf) {
    raise<ModelError>(
        "{}: holds its weights as GGUF files, which can't be trained. Give the model that they were made of: a folder "
        "with config.json and *.safetensors.",
        folder.string());
  }
  raise<ModelError>("{}: holds no weights: neither {} nor {}. Give a Hugging Face model folder.", folder.string(),
                    kSingle, kIndex);
}

/// "model-00002-of-00005.safetensors" → 5; 0 if the name has another form.
int shard_count(const std::string& name) {
  const std::string head = "model-", middle = "-of-", tail = ".safetensors";
  const auto digits = [](std::string_view text) {
    return !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  const auto of = name.find(middle);
  if (!name.starts_with(head) || !name.ends_with(tail) || of == std::string::npos) return 0;
  const auto number = name.substr(head.size(), of - head.size());
  const auto total = name.substr(of + middle.size(), name.size() - of - middle.size() - tail.size());
  return digits(number) && digits(total) ? std::stoi(total) : 0;
}

/// Shards of a folder that has no index: taken if their names say that all are there.
std::vector<fs::path> shards_without_index(const fs::path& folder) {
  std::vector<fs::path> shards;
  int total = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (const int count = shard_count(entry.path().filename().string()); count > 0) {
      shards.push_back(entry.path());
      total = std::max(total, count);
    }
  }
  std::sort(shards.begin(), shards.end());
  if (!shards.empty() && static_cast<int>(shards.size()) != total) {
    raise<ModelError>(
        "{}: {} shards are there, but their names speak of {}, and there is no {}. Fetch the missing ones.",
        folder.string(), shards.size(), total, kIndex);
  }
  return shards;
}

/// A shard's name comes from an untrusted file: it may not lead out of the folder.
fs::path shard_path(const fs::path& folder, const std::string& name, const std::string& index) {
  const fs::path relative(name);
  const bool escapes = std::any_of(relative.begin(), relative.end(), [](const fs::path& part) { return part == ".."; });
  if (name.empty() || relative.is_absolute() || escapes || name.find('\0') != std::string::npos) {
    raise<ModelError>("{}: weight_map names the file \"{}\", which is not inside the model's folder", index, name);
  }
  return folder / relative;
}

/// tensor → shard file name, from the index.
std::map<std::string, std::string> read_index(const fs::path& path) {
  const auto index = read_json(path);
  const auto* map = JsonFields(index, path.string()).object("weight_map");
  if (!map || map->empty()) raise<ModelError>("{}: has no \"weight_map\" with tensors in it", path.string());
  std::map<std::string, std::string> result;
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string()) raise<ModelError>("{}: weight_map[\"{}\"] is not a file name", path.string(), name);
    result[name] = file.get<std::string>();
  }
  return result;
}

}  // namespace

WeightFiles::WeightFiles(const fs::path& folder) : folder_(folder) {
  if (fs::is_regular_file(folder)) {
    folder_ = folder.has_parent_path() ? folder.parent_path() : fs::path(".");
    open({folder});
    return;
  }
  if (!fs::is_directory(folder)) {
    raise<FileError>("{}: no such folder. Give the path of a Hugging Face model folder.", folder.string());
  }
  std::vector<fs::path> paths;
  std::map<std::string, std::string> index;
  const auto index_path = folder / kIndex;
  std::string reason = "its name isn't that of a shard, and there is no index that names it";
  if (fs::exists(folder / kSingle)) {
    paths = {folder / kSingle};
    reason = fmt::format("{} is there, and holds the whole model by its name", kSingle);
  } else if (fs::exists(index_path)) {
    index = read_index(index_path);
    std::set<std::string> names;
    for (const auto& [tensor, file] : index) names.insert(file);
    for (const auto& name : names) {
      paths.push_back(shard_path(folder, name, index_path.string()));
      if (!fs::exists(paths.back())) {
        raise<ModelError>("{}: the shard is missing, but {} names it. Fetch it.", paths.back().string(),
                          index_path.string());
      }
    }
    reason = fmt::format("{} doesn't name it", kIndex);
  } else {
    paths = shards_without_index(folder);
    if (paths.empty()) raise_no_weights(folder);
  }
  open(paths);
  for (const auto& [name, file] : index) {
    const auto place = owner_.find(name);
    if (place == owner_.end() || files_[place->second].path() != folder / file) {
      raise<ModelError>("{}: {} says that tensor \"{}\" is in it, but it is not. Fetch the shard again.",
                        (folder / file).string(), kIndex, name);
    }
  }
  for (const auto& entry : fs::directory_iterator(folder)) {
    const bool read = std::find(paths.begin(), paths.end(), entry.path()) != paths.end();
    if (read || entry.path().extension() != ".safetensors" || !entry.is_regular_file()) continue;
    aside_.push_back(entry.path());
    account_.leave_aside(Account::Kind::file, folder.string(), entry.path().filename().string(), reason);
  }
}

void WeightFiles::open(const std::vector<fs::path>& paths) {
  for (const auto& path : paths) {
    files_.emplace_back(path);
    for (const auto& [name, tensor] : files_.back().tensors()) {
      const auto [place, added] = owner_.emplace(name, files_.size() - 1);
      if (!added) {
        raise<ModelError>("tensor \"{}\" is in two shards: {} and {}", name, files_[place->second].path().string(),
                          path.string());
      }
    }
  }
}

std::string WeightFiles::elsewhere(const std::string& name) const {
  for (const auto& path : aside_) {
    try {
      if (!SafetensorsFile(path).find(name)) continue;
    } catch (const Error&) {
      continue;
    }
    return fmt::format(". {} holds it, but belongs to the model neither by {} nor by its name",
                       path.filename().string(), kIndex);
  }
  return "";
}

const TensorView* WeightFiles::find(const std::string& name) const {
  const auto place = owner_.find(name);
  return place == owner_.end() ? nullptr : files_[place->second].find(name);
}

const TensorView& WeightFiles::at(const std::string& name) const {
  if (const auto* tensor = find(name)) return *tensor;
  const auto near = nearest_name(name, names());
  raise<ModelError>("{}: no tensor \"{}\" among its {} tensors{}{}", folder_.string(), name, owner_.size(),
                    near.empty() ? "" : fmt::format(" (the nearest name is \"{}\")", near), elsewhere(name));
}

std::vector<std::string> WeightFiles::names() const {
  std::vector<std::string> result;
  result.reserve(owner_.size());
  for (const auto& [name, place] : owner_) result.push_back(name);
  return result;
}

const fs::path& WeightFiles::file_of(const std::string& name) const {
  at(name);
  return files_[owner_.at(name)].path();
}

void WeightFiles::release(const TensorView& tensor) const {
  const auto place = owner_.find(tensor.name);
  ensure(place != owner_.end(), "release of tensor {}, which {} doesn't hold", tensor.name, folder_.string());
  files_[place->second].release(tensor);
}

}  // namespace lorica::io
