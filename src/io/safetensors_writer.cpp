// Streaming writing of one safetensors file, laid out as the reference implementation does: header padded with spaces
// to a multiple of 8, tensors without gaps, the widest element types first so that each is aligned.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/strings.hpp"
#include "io/safetensors.hpp"

namespace lorica::io {

struct SafetensorsWriter::State {
  struct Tensor {
    std::string name;
    Dtype dtype;
    std::vector<std::int64_t> shape;
    std::uint64_t bytes = 0, begin = 0;
    bool written = false;
  };

  std::filesystem::path target;
  std::map<std::string, std::string> metadata;
  std::vector<Tensor> tensors;
  std::map<std::string, std::size_t> places;
  std::optional<PendingFile> pending;
  bool laid_out = false;
  std::uint64_t data_bytes = 0, data_begin = 0;
  int fd = -1;

  ~State() {
    if (fd >= 0) ::close(fd);
  }

  void lay_out() {
    if (laid_out) return;
    std::stable_sort(tensors.begin(), tensors.end(),
                     [](const Tensor& a, const Tensor& b) { return dtype_size(a.dtype) > dtype_size(b.dtype); });
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      tensors[i].begin = data_bytes;
      data_bytes += tensors[i].bytes;
      places[tensors[i].name] = i;
    }
    laid_out = true;
  }

  std::string header() const {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) header["__metadata__"] = metadata;
    for (const auto& tensor : tensors) {
      header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                             {"shape", tensor.shape},
                             {"data_offsets", {tensor.begin, tensor.begin + tensor.bytes}}};
    }
    auto text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return text;
  }

  [[noreturn]] void fail(const char* action) const {
    const int code = errno;
    raise<FileError>("{}: can't {}: {}.{}", target.string(), action, std::strerror(code),
                     code == ENOSPC || code == EDQUOT ? " Free some space or choose another folder." : "");
  }

  void put(const void* data, std::uint64_t bytes, std::uint64_t offset) const {
    const char* from = static_cast<const char*>(data);
    while (bytes > 0) {
      // The kernel takes at most 2 GiB a call.
      const auto count = ::pwrite(fd, from, std::min<std::uint64_t>(bytes, 1U << 30), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail("write the file");
      from += count, offset += static_cast<std::uint64_t>(count), bytes -= static_cast<std::uint64_t>(count);
    }
  }

  void open() {
    if (fd >= 0) return;
    lay_out();
    const auto text = header();
    const auto needed = 8 + text.size() + data_bytes;
    const auto available = free_disk_bytes(target.has_parent_path() ? target.parent_path() : ".");
    if (needed > available) {
      raise<FileError>("{}: {} are needed, but only {} are free there. Free some space or choose another folder.",
                       target.string(), format_bytes(needed), format_bytes(available));
    }
    pending.emplace(target);
    fd = ::open(pending->path().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) fail("create the file");
    const std::uint64_t length = text.size();
    put(&length, sizeof length, 0);
    put(text.data(), text.size(), 8);
    data_begin = 8 + text.size();
  }
};

SafetensorsWriter::SafetensorsWriter(std::filesystem::path target, std::map<std::string, std::string> metadata)
    : state_(std::make_unique<State>()) {
  state_->target = std::move(target);
  state_->metadata = std::move(metadata);
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::declare(const std::string& name, Dtype dtype, std::vector<std::int64_t> shape) {
  ensure(!state_->laid_out, "tensor {} declared after writing began", name);
  ensure(name != "__metadata__" && state_->places.emplace(name, 0).second, "tensor {} declared twice or reserved",
         name);
  std::uint64_t bytes = dtype_size(dtype);
  for (const auto size : shape) {
    ensure(size >= 0, "tensor {} declared with a negative size", name);
    const auto factor = static_cast<std::uint64_t>(size);
    ensure(factor == 0 || bytes <= std::numeric_limits<std::uint64_t>::max() / factor, "tensor {} is too large", name);
    bytes *= factor;
  }
  state_->tensors.push_back({name, dtype, std::move(shape), bytes});
}

std::vector<std::string> SafetensorsWriter::order() {
  state_->lay_out();
  std::vector<std::string> names;
  for (const auto& tensor : state_->tensors) names.push_back(tensor.name);
  return names;
}

void SafetensorsWriter::write(const std::string& name, const void* data, std::size_t bytes) {
  state_->open();
  const auto place = state_->places.find(name);
  ensure(place != state_->places.end(), "tensor {} written but not declared", name);
  auto& tensor = state_->tensors[place->second];
  ensure(!tensor.written, "tensor {} written twice", name);
  ensure(tensor.bytes == bytes, "tensor {} has {} bytes, but {} were declared", name, bytes, tensor.bytes);
  state_->put(data, bytes, state_->data_begin + tensor.begin);
  tensor.written = true;
}

void SafetensorsWriter::commit() {
  state_->open();
  for (const auto& tensor : state_->tensors) ensure(tensor.written, "tensor {} declared but not written", tensor.name);
  // Trailing empty tensors add no bytes, so the length is right without truncation.
  const int fd = std::exchange(state_->fd, -1);
  if (::close(fd) != 0) state_->fail("write the file");
  state_->pending->commit();
}

void save_safetensors(const std::filesystem::path& target, const std::vector<TensorToSave>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  SafetensorsWriter writer(target, metadata);
  std::map<std::string, const TensorToSave*> by_name;
  for (const auto& tensor : tensors) {
    writer.declare(tensor.name, tensor.dtype, tensor.shape);
    by_name[tensor.name] = &tensor;
  }
  for (const auto& name : writer.order()) {
    const auto& tensor = *by_name.at(name);
    std::size_t bytes = dtype_size(tensor.dtype);
    for (const auto size : tensor.shape) bytes *= static_cast<std::size_t>(size);
    writer.write(name, tensor.data, bytes);
  }
  writer.commit();
}

}  // namespace lorica::io
