// Memory for gathered blocks: buffers whose memory comes and goes while the tensors that view them stay.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lorica::engine {

/// Takes memory from LibTorch's allocator (which keeps what is given back for the next of its size) and counts it.
class BufferPool {
 public:
  explicit BufferPool(at::Device device) : device_(device) {}
  at::DataPtr take(std::int64_t bytes);
  void give_back(at::DataPtr memory, std::int64_t bytes);
  std::int64_t peak_bytes() const { return peak_; }
  at::Device device() const { return device_; }

 private:
  at::Device device_;
  std::int64_t in_use_ = 0, peak_ = 0;
};

/// A flat buffer of bytes. Tensors that view bytes() stay valid objects while it is empty; they must not be read then.
class ReusableBuffer {
 public:
  /// Has memory at first (untouched), so that views can be made; seal() takes it away.
  ReusableBuffer(BufferPool& pool, std::int64_t bytes);
  void seal();
  /// The whole buffer, uint8.
  const at::Tensor& bytes() const { return bytes_; }
  bool full() const { return full_; }
  /// Takes memory, which may hold anything. The buffer must be empty.
  std::uint8_t* fill();
  void empty();

 private:
  BufferPool& pool_;
  at::Tensor bytes_;
  bool full_ = false;
};

}  // namespace lorica::engine
