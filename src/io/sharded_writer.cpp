#include "io/sharded_writer.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "base/strings.hpp"
#include "io/json.hpp"

namespace lorica::io {
namespace {

std::string hash_of(const void* data, std::size_t bytes) {
  return ContentHash().add(std::string_view(static_cast<const char*>(data), bytes)).hex();
}

/// Of a tensor in a mapped file, letting go of each piece that has been read: pages of a file count as memory, too.
std::string hash_of(const SafetensorsFile& file, const TensorView& view) {
  constexpr std::size_t kPiece = 4 << 20;
  ContentHash hash;
  auto piece = view;
  for (std::size_t done = 0; done < view.bytes; done += piece.bytes) {
    piece.data = view.data + done;
    piece.bytes = std::min(kPiece, view.bytes - done);
    hash.add({reinterpret_cast<const char*>(piece.data), piece.bytes});
    file.release(piece);
  }
  file.release(view);
  return hash.hex();
}

}  // namespace

std::uint64_t ShardedWriter::Tensor::bytes() const {
  std::uint64_t count = dtype_size(dtype);
  for (const auto size : shape) count *= static_cast<std::uint64_t>(size);
  return count;
}

ShardedWriter::ShardedWriter(std::filesystem::path folder, std::vector<Tensor> tensors, std::uint64_t shard_bytes,
                             const std::string& single_name)
    : folder_(std::move(folder)) {
  std::uint64_t headers = 0;
  for (const auto& tensor : tensors) {
    total_ += tensor.bytes();
    bytes_of_type_[tensor.dtype] += tensor.bytes();
    headers += tensor.name.size() + 120;  // its entry: dtype, shape, offsets
  }
  const auto available = free_disk_bytes(folder_);
  if (total_ + headers > available) {
    raise<FileError>("{}: {} are needed there, but only {} are free. Free some space or choose another folder.",
                     folder_.string(), format_bytes(total_ + headers), format_bytes(available));
  }
  deal(std::move(tensors), shard_bytes, single_name);
}

ShardedWriter::~ShardedWriter() = default;

void ShardedWriter::deal(std::vector<Tensor> tensors, std::uint64_t limit, const std::string& single_name) {
  shards_.emplace_back();
  std::uint64_t used = 0;
  for (auto& tensor : tensors) {
    const auto bytes = tensor.bytes();
    if (limit > 0 && used > 0 && used + bytes > limit) {
      shards_.emplace_back();
      used = 0;
    }
    used += bytes;
    place_[tensor.name] = shards_.size() - 1;
    shards_.back().tensors.push_back(std::move(tensor));
  }
  for (std::size_t s = 0; s < shards_.size(); ++s) {
    auto& shard = shards_[s];
    shard.name =
        shards_.size() == 1 ? single_name : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards_.size());
    shard.writer = std::make_unique<SafetensorsWriter>(folder_ / shard.name);
    shard.missing = shard.tensors.size();
    for (const auto& tensor : shard.tensors) shard.writer->declare(tensor.name, tensor.dtype, tensor.shape);
  }
}

std::vector<std::string> ShardedWriter::order() {
  std::vector<std::string> names;
  for (auto& shard : shards_) {
    for (auto& name : shard.writer->order()) names.push_back(std::move(name));
  }
  return names;
}

void ShardedWriter::write(const std::string& name, const void* data, std::size_t bytes) {
  const auto place = place_.find(name);
  ensure(place != place_.end(), "tensor {} written but not declared", name);
  auto& shard = shards_[place->second];
  shard.writer->write(name, data, bytes);
  hashes_[name] = hash_of(data, bytes);
  if (--shard.missing == 0) shard.writer->commit();
}

void ShardedWriter::finish() {
  for (auto& shard : shards_) {
    // A model without tensors is a file all the same.
    if (shard.tensors.empty()) shard.writer->commit();
    ensure(shard.missing == 0, "{} of {}'s tensors were never written", shard.missing, shard.name);
  }
  if (shards_.size() > 1) write_index();
  for (const auto& shard : shards_) read_back(shard);
}

Dtype ShardedWriter::main_dtype() const {
  const auto most = std::max_element(bytes_of_type_.begin(), bytes_of_type_.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes_of_type_.end() ? Dtype::f32 : most->first;
}

void ShardedWriter::write_index() const {
  nlohmann::ordered_json map;
  for (const auto& [name, shard] : place_) map[name] = shards_[shard].name;
  write_json(folder_ / "model.safetensors.index.json",
             nlohmann::ordered_json{{"metadata", {{"total_size", total_}}}, {"weight_map", map}});
}

void ShardedWriter::read_back(const Shard& shard) const {
  const SafetensorsFile file(folder_ / shard.name);
  for (const auto& tensor : shard.tensors) {
    const auto* view = file.find(tensor.name);
    if (view == nullptr || view->dtype != tensor.dtype || view->shape != tensor.shape ||
        hash_of(file, *view) != hashes_.at(tensor.name)) {
      raise<Error>(
          "{}: '{}' reads back differently from what was written: the disk or its file system lost something. Try "
          "again, in another folder if it happens twice.",
          file.path().string(), tensor.name);
    }
  }
}

}  // namespace lorica::io
