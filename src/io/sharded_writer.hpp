// A model's weights as one safetensors file or as shards with their index, written tensor by tensor and read back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/safetensors.hpp"

namespace lorica::io {

class ShardedWriter {
 public:
  struct Tensor {
    std::string name;
    Dtype dtype = Dtype::f32;
    std::vector<std::int64_t> shape;
    std::uint64_t bytes() const;
  };

  /// Deals `tensors`, in their order, to shards of at most `shard_bytes` (a larger tensor has one of its own; 0: a
  /// single file, however large). One shard is called `single_name`, several are model-<i>-of-<n>.safetensors. Throws
  /// FileError if `folder`, which exists, hasn't room for all of them.
  ShardedWriter(std::filesystem::path folder, std::vector<Tensor> tensors, std::uint64_t shard_bytes,
                const std::string& single_name = "model.safetensors");
  ~ShardedWriter();

  /// All names in the order in which they lie on disk, shard by shard.
  std::vector<std::string> order();
  /// Each tensor once, in any order; a shard that is full gets its name at once. `bytes` as declared.
  void write(const std::string& name, const void* data, std::size_t bytes);
  /// When all are written: the index of several shards, then every tensor is read back, a few MiB at a time. Throws
  /// Error naming the tensor that isn't what was written.
  void finish();

  std::uint64_t total_bytes() const { return total_; }  ///< of the tensors
  std::size_t files() const { return shards_.size(); }
  /// The dtype that most of the bytes have.
  Dtype main_dtype() const;

 private:
  struct Shard {
    std::string name;
    std::vector<Tensor> tensors;
    std::unique_ptr<SafetensorsWriter> writer;
    std::size_t missing = 0;  // tensors that are still to come
  };
  void deal(std::vector<Tensor> tensors, std::uint64_t limit, const std::string& single_name);
  void write_index() const;
  void read_back(const Shard& shard) const;

  std::filesystem::path folder_;
  std::vector<Shard> shards_;
  std::map<std::string, std::size_t> place_;   // of a tensor among the shards
  std::map<std::string, std::string> hashes_;  // of what was written
  std::map<Dtype, std::uint64_t> bytes_of_type_;
  std::uint64_t total_ = 0;
};

}  // namespace lorica::io
