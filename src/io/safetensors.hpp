// Safetensors files (https://huggingface.co/docs/safetensors): memory-mapped reading with a validated header, a folder
// of shards seen as one, and streaming writing. Every length and offset of a file is checked before it is used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/account.hpp"
#include "io/dtype.hpp"

namespace lorica::io {

/// A tensor inside a mapped file: row-major, little-endian, valid while the file object lives. `data` need not be
/// aligned to the element size (the format does not promise it): copy by memcpy, don't cast, unless alignment was
/// checked.
struct TensorView {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape;
  const std::byte* data = nullptr;
  std::size_t bytes = 0;
  std::int64_t elements() const;
};

/// One .safetensors file. Throws ModelError that names the file and the fault: shorter than its header says, header
/// length beyond the file, malformed JSON, unknown dtype, negative or overflowing shape, shape and byte count that
/// disagree, tensors that overlap, leave holes or run past the end, duplicate names.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  const std::filesystem::path& path() const;
  const std::map<std::string, TensorView>& tensors() const;
  /// nullptr if the file has no such tensor.
  const TensorView* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const;
  /// Lets the kernel drop the pages of a tensor that has been consumed (they count as resident memory otherwise).
  void release(const TensorView& tensor) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// All weights of a model folder: model.safetensors, or the shards that model.safetensors.index.json names, each with
/// all of its tensors. Also accepts the path of one .safetensors file. Throws FileError / ModelError: missing folder,
/// no weights (says if only .bin pickles or GGUF files are there and that they are not read), index that names a
/// missing shard, shard that lacks a tensor of the index, a tensor in two shards. Other files of weights in the folder
/// are left aside in the account.
class WeightFiles {
 public:
  explicit WeightFiles(const std::filesystem::path& folder);
  /// Throws ModelError naming the tensor, the folder and the nearest existing name.
  const TensorView& at(const std::string& name) const;
  const TensorView* find(const std::string& name) const;
  /// Every tensor name, sorted.
  std::vector<std::string> names() const;
  /// Which file holds a tensor (for messages).
  const std::filesystem::path& file_of(const std::string& name) const;
  void release(const TensorView& tensor) const;
  /// The files in order, for those who copy or merge shard by shard.
  const std::vector<SafetensorsFile>& files() const { return files_; }
  const std::filesystem::path& folder() const { return folder_; }
  const Account& account() const { return account_; }

 private:
  void open(const std::vector<std::filesystem::path>& paths);
  /// " (file x holds it, …)" if a file that was left aside has the tensor.
  std::string elsewhere(const std::string& name) const;

  std::filesystem::path folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t> owner_;
  std::vector<std::filesystem::path> aside_;
  Account account_;
};

/// Writes one safetensors file, tensor by tensor, without holding them all: declare every tensor first, then write each
/// once (in any order; that of `order()` is sequential on disk), then commit. The file appears under its name only at
/// commit (base/files.hpp), and the free disk space is checked when the first tensor is written. Tensors are laid out
/// by descending dtype alignment and then by declaration, as the reference implementation does; declare() returns
/// nothing but fixes the order that `order()` gives.
class SafetensorsWriter {
 public:
  explicit SafetensorsWriter(std::filesystem::path target,
                             std::map<std::string, std::string> metadata = {{"format", "pt"}});
  ~SafetensorsWriter();
  void declare(const std::string& name, Dtype dtype, std::vector<std::int64_t> shape);
  /// Names in the order in which they lie in the file. No declare() after this.
  std::vector<std::string> order();
  /// `data` must be exactly the declared size. Throws FileError when the disk is full.
  void write(const std::string& name, const void* data, std::size_t bytes);
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A tensor in memory to be saved.
struct TensorToSave {
  std::string name;
  Dtype dtype;
  std::vector<std::int64_t> shape;
  const void* data;
};
/// Saves a handful of tensors in one call.
void save_safetensors(const std::filesystem::path& target, const std::vector<TensorToSave>& tensors,
                      const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace lorica::io
