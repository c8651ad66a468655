#include "engine/torch/state_files.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "engine/state_pieces.hpp"
#include "engine/torch/saving.hpp"
#include "engine/torch/tensor_io.hpp"
#include "io/json.hpp"
#include "io/peft_adapter.hpp"
#include "quant/dtype_name.hpp"

namespace fs = std::filesystem;

namespace lorica::engine {
namespace {

nlohmann::json steps_of(const optim::OptimizerState& state) {
  auto steps = nlohmann::json::object();
  for (const auto& [name, count] : state.steps) steps[name] = count;
  return steps;
}

}  // namespace

void save_optimizer(const optim::OptimizerState& state, const fs::path& folder) {
  save_tensors(folder / kOptimizerFile, state.tensors, {{"format", "pt"}, {"steps", steps_of(state).dump()}});
}

void save_pieces(Model& model, const optim::Optimizer& optimizer, const fs::path& folder) {
  const auto& mesh = model.mesh;
  if (mesh.replica != 0) return;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  auto begins = nlohmann::json::object();
  const auto add = [&](const std::string& key, const at::Tensor& tensor, std::int64_t begin) {
    if (tensor.numel() == 0) return;
    tensors.emplace_back(key, tensor);
    begins[key] = begin;
  };
  std::map<std::string, std::int64_t> begin_of;
  for (const auto& parameter : model.store->trainable()) {
    if (is_repeated(model, parameter.name)) continue;
    begin_of[parameter.name] = model.store->rows(parameter.name).begin;
    add(parameter.name, parameter.value, begin_of[parameter.name]);
  }
  const auto state = optimizer.state();
  for (const auto& [key, tensor] : state.tensors) {
    const auto owner = begin_of.find(io::module_of(key));
    if (owner != begin_of.end()) add(key, tensor, owner->second);
  }
  const auto number = mesh.stage * mesh.shards + mesh.shard + 1;
  save_tensors(folder / state_piece_name(number, mesh.stages * mesh.shards), tensors,
               {{"format", "pt"}, {"begins", begins.dump()}, {"steps", steps_of(state).dump()}});
}

SavedState::SavedState(const Model& model, const fs::path& folder) : folder_(folder) {
  const auto pieces = state_pieces(folder);
  if (pieces.empty()) {
    open_whole(model, folder);
  } else {
    open_pieces(pieces);
  }
  check_names(model);
}

/// Each tensor is a trained parameter, or a part of the optimizer's state of one ("<parameter>.<slot>").
void SavedState::check_names(const Model& model) const {
  const auto check = [&](const std::string& key, const std::string& parameter) {
    if (model.trained.contains(parameter)) return;
    raise<ModelError>("{}: holds '{}', which this run doesn't train. The checkpoint belongs to other options.",
                      folder_.string(), key);
  };
  for (const auto& [key, pieces] : pieces_) check(key, model.trained.contains(key) ? key : io::module_of(key));
  for (const auto& [name, count] : steps_) check(name, name);
}

void SavedState::read_steps(const io::SafetensorsFile& file) {
  const auto text = file.metadata().find("steps");
  if (text == file.metadata().end()) {
    raise<ModelError>("{}: has no count of updates: this is no optimizer state", file.path().string());
  }
  const auto parsed = io::parse_json(text->second, file.path().string() + ": steps");
  const io::JsonFields steps(parsed, file.path().string() + ": steps");
  for (const auto& [name, count] : parsed.items()) {
    const auto value = steps.integer(name);
    if (!value) steps.reject(name, "an integer");
    steps_[name] = *value;
  }
  has_steps_ = true;
}

void SavedState::open_pieces(const std::vector<fs::path>& files) {
  files_.reserve(files.size());
  for (const auto& path : files) {
    const auto& file = files_.emplace_back(path);
    read_steps(file);
    const auto text = file.metadata().find("begins");
    if (text == file.metadata().end()) raise<ModelError>("{}: doesn't say which rows it holds", path.string());
    const auto begins = io::parse_json(text->second, path.string() + ": begins");
    const io::JsonFields rows(begins, path.string() + ": begins");
    for (const auto& [name, view] : file.tensors()) {
      const auto begin = rows.integer(name);
      if (!begin) raise<ModelError>("{}: doesn't say which rows of '{}' it holds", path.string(), name);
      pieces_[name].push_back({*begin, &view, &file});
    }
  }
  for (auto& [name, list] : pieces_) {
    std::sort(list.begin(), list.end(), [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  }
}

void SavedState::open_whole(const Model& model, const fs::path& folder) {
  weights_.emplace(model.adapter ? folder / io::kAdapterWeightsFile : folder);
  std::map<std::string, std::string> names;  // in the file -> of the parameter
  for (const auto& name : model.trained) names[saved_name(model, name)] = name;
  for (const auto& name : model.brought) names.emplace(saved_name(model, name), "");
  for (const auto& key : weights_->names()) {
    const auto name = names.find(key);
    if (name == names.end()) {
      raise<ModelError>("{}: holds '{}', which this run doesn't train. The checkpoint belongs to other options.",
                        weights_->file_of(key).string(), key);
    }
    if (!name->second.empty()) pieces_[name->second].push_back({0, weights_->find(key), nullptr});
  }
  if (!fs::exists(folder / kOptimizerFile)) return;
  const auto& file = files_.emplace_back(folder / kOptimizerFile);
  read_steps(file);
  for (const auto& [name, view] : file.tensors()) pieces_[name].push_back({0, &view, &file});
}

at::Tensor SavedState::rows_of(const std::string& key, const std::vector<std::int64_t>& shape,
                               std::optional<at::ScalarType> dtype, Rows rows) const {
  const auto found = pieces_.find(key);
  if (found == pieces_.end()) raise<ModelError>("{}: '{}' is missing", folder_.string(), key);
  const auto& pieces = found->second;
  auto saved = pieces.front().view->shape;
  const auto type = scalar_type(pieces.front().view->dtype);
  saved.at(0) = 0;
  for (const auto& piece : pieces) {
    const auto& part = piece.view->shape;
    const bool fits = piece.begin == saved[0] && part.size() == saved.size() &&
                      std::equal(part.begin() + 1, part.end(), saved.begin() + 1) &&
                      scalar_type(piece.view->dtype) == type;
    if (!fits) raise<ModelError>("{}: the parts of '{}' don't fit together", folder_.string(), key);
    saved[0] += part[0];
  }
  if (saved != shape || (dtype && type != *dtype)) {
    raise<ModelError>("{}: '{}' is {} [{}], but this run trains {} [{}]. The checkpoint belongs to other options.",
                      folder_.string(), key, quant::dtype_name(type), fmt::join(saved, ", "),
                      dtype ? quant::dtype_name(*dtype) : "", fmt::join(shape, ", "));
  }
  saved[0] = rows.count;
  auto result = at::empty(saved, at::TensorOptions().dtype(type));
  for (const auto& piece : pieces) {
    const auto length = piece.view->shape[0];
    const auto first = std::max(piece.begin, rows.begin),
               last = std::min(piece.begin + length, rows.begin + rows.count);
    if (first >= last) continue;
    const auto row_bytes = static_cast<std::int64_t>(piece.view->bytes) / length;
    std::memcpy(static_cast<char*>(result.mutable_data_ptr()) + (first - rows.begin) * row_bytes,
                piece.view->data + (first - piece.begin) * row_bytes,
                static_cast<std::size_t>((last - first) * row_bytes));
    if (piece.file != nullptr) {
      piece.file->release(*piece.view);
    } else {
      weights_->release(*piece.view);
    }
  }
  return result;
}

at::Tensor SavedState::value(const Parameter& parameter, Rows rows) const {
  return rows_of(parameter.name, parameter.stored->shape, parameter.stored->format.dtype, rows);
}

optim::OptimizerState SavedState::optimizer(const Model& model, const std::vector<std::string>& slots) const {
  if (!has_steps_)
    raise<FileError>("{}: is missing: there is no optimizer state to go on from", (folder_ / kOptimizerFile).string());
  for (const auto& [key, pieces] : pieces_) {
    if (model.trained.contains(key)) continue;
    const auto slot = key.substr(io::module_of(key).size() + 1);  // check_names() saw that there is one
    if (std::find(slots.begin(), slots.end(), slot) != slots.end()) continue;
    raise<ModelError>(
        "{}: holds '{}', which --optimizer of this run has no use for. The checkpoint belongs to another one.",
        folder_.string(), key);
  }
  optim::OptimizerState state;
  for (const auto& parameter : model.store->parameters()) {
    if (!parameter.trained) continue;
    const auto count = steps_.find(parameter.name);
    if (count != steps_.end()) state.steps.emplace_back(parameter.name, count->second);
    for (const auto& slot : slots) {
      const auto key = parameter.name + "." + slot;
      if (!pieces_.contains(key)) continue;
      state.tensors.emplace_back(
          key, rows_of(key, parameter.stored->shape, std::nullopt, model.store->rows(parameter.name)));
    }
  }
  return state;
}

}  // namespace lorica::engine
