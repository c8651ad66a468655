// The one reader of a base model's folder, for all commands: config.json and the headers of all weight files, held
// against each other before a weight is read. What the model needs must be there in the right shape; what is there and
// isn't needed is named.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/account.hpp"
#include "io/model_config.hpp"
#include "io/safetensors.hpp"
#include "model/architecture.hpp"
#include "quant/weight.hpp"

namespace lorica::engine {

class BaseModel {
 public:
  enum class Weights {
    needed,
    optional,  ///< for plans: a folder with config.json alone will do
    ignored    ///< --load_format dummy
  };

  /// Throws FileError, ModelError: no such folder, a bad config.json, weights that are quantized in a way that isn't
  /// read, a tensor that is missing, of another shape than config.json asks for, or of no float type.
  BaseModel(const std::filesystem::path& folder, Weights weights);

  const std::filesystem::path& folder() const { return folder_; }
  /// config.json's, but tied_embeddings says what the files hold: a head of its own beside the embedding is not tied.
  const model::Architecture& architecture() const { return architecture_; }
  const std::vector<model::BlockSpec>& blocks() const { return blocks_; }
  /// nullptr if there are none, or they were ignored.
  const io::WeightFiles* files() const { return files_ ? &*files_ : nullptr; }
  /// The tensor's name in the files. (Of a tied weight, they may have the head's alone.)
  const std::string& file_name(const std::string& checkpoint_name) const;

  /// The format in which the files store this weight, if that is a quantized one.
  std::optional<quant::WeightFormat> packed(const model::ParameterSpec& spec) const;
  /// Whether any weight is stored in a quantized format.
  bool quantized() const { return quantization_.has_value() || !packed_.empty(); }
  /// A linear layer that a quantized checkpoint left as it was: it isn't quantized while loading, either.
  bool keeps_dense(const model::ParameterSpec& spec) const;

  /// Keys of config.json, files and tensors that nothing uses.
  const Account& account() const { return account_; }

 private:
  void settle_tying();
  void check_tensors();
  void check_tensor(const model::ParameterSpec& spec);
  [[noreturn]] void raise_missing(const std::string& name) const;
  void name_unused();
  std::string config_file() const { return (folder_ / "config.json").string(); }

  std::filesystem::path folder_;
  model::Architecture architecture_;
  std::optional<io::BitsAndBytesConfig> quantization_;
  std::vector<model::BlockSpec> blocks_;
  std::optional<io::WeightFiles> files_;
  std::map<std::string, quant::WeightFormat> packed_;  // by checkpoint name
  std::map<std::string, std::string> aliases_;         // checkpoint name -> name in the files, where they differ
  Account account_;
};

/// Why a tensor of a checkpoint that no parameter of `architecture` is stored in isn't used, as the end of a sentence;
/// "" for what carries no weight (tables of rotary embedding, causal masks).
std::string why_unused(const std::string& tensor, const model::Architecture& architecture);

}  // namespace lorica::engine
