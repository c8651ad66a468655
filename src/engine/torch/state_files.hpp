// The part of a checkpoint that training goes on from: trained tensors and optimizer state, in pieces that each process
// wrote, and read back by any number of processes in any layout.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/torch/model_builder.hpp"
#include "io/safetensors.hpp"

namespace lorica::engine {

inline constexpr const char* kOptimizerFile = "optimizer.safetensors";

/// One process alone: the optimizer's state in optimizer.safetensors (the trained tensors are those of save_trained()).
void save_optimizer(const optim::OptimizerState& state, const std::filesystem::path& folder);

/// One of several processes: its rows of everything, in state-<i>-of-<n>.safetensors. Copies of a shard write nothing.
void save_pieces(Model& model, const optim::Optimizer& optimizer, const std::filesystem::path& folder);

/// What the two left, or save_trained() alone. Tensors that have been read stop counting as memory of this process.
class SavedState {
 public:
  /// Opens all files. Throws ModelError naming a file that is broken or missing, or a tensor that this model has no use
  /// for: the checkpoint then belongs to other options.
  SavedState(const Model& model, const std::filesystem::path& folder);

  /// Rows of a trained parameter as it was saved. Throws ModelError if it is missing, incomplete, or of another shape
  /// or dtype than `parameter`.
  at::Tensor value(const Parameter& parameter, Rows rows) const;
  /// Throws what value() would, reading nothing.
  void check(const Parameter& parameter) const { value(parameter, {0, 0}); }
  /// The optimizer's state of these rows; what was never updated has none. Throws FileError if there is no such file,
  /// ModelError for state of another optimizer.
  optim::OptimizerState optimizer(const Model& model, const std::vector<std::string>& slots) const;

 private:
  struct Piece {
    std::int64_t begin;
    const io::TensorView* view;
    const io::SafetensorsFile* file;  ///< null: one of weights_
  };
  void open_pieces(const std::vector<std::filesystem::path>& files);
  void open_whole(const Model& model, const std::filesystem::path& folder);
  void check_names(const Model& model) const;
  void read_steps(const io::SafetensorsFile& file);
  at::Tensor rows_of(const std::string& key, const std::vector<std::int64_t>& shape,
                     std::optional<at::ScalarType> dtype, Rows rows) const;

  std::filesystem::path folder_;
  std::vector<io::SafetensorsFile> files_;
  std::optional<io::WeightFiles> weights_;
  std::map<std::string, std::vector<Piece>> pieces_;  // by parameter, or parameter.slot
  std::map<std::string, std::int64_t> steps_;
  bool has_steps_ = false;
};

}  // namespace lorica::engine
