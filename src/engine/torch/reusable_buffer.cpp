#include "engine/torch/reusable_buffer.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"

namespace lorica::engine {

at::DataPtr BufferPool::take(std::int64_t bytes) {
  in_use_ += bytes;
  peak_ = std::max(peak_, in_use_);
  return c10::GetAllocator(device_.type())->allocate(static_cast<std::size_t>(bytes));
}

void BufferPool::give_back(at::DataPtr memory, std::int64_t bytes) {
  memory.clear();
  in_use_ -= bytes;
}

ReusableBuffer::ReusableBuffer(BufferPool& pool, std::int64_t bytes) : pool_(pool) {
  bytes_ = at::empty({bytes}, at::TensorOptions().dtype(at::kByte).device(pool.device()));
}

void ReusableBuffer::seal() {
  auto* storage = bytes_.storage().unsafeGetStorageImpl();
  storage->set_data_ptr(at::DataPtr(nullptr, pool_.device()));
  storage->set_nbytes(0);
}

std::uint8_t* ReusableBuffer::fill() {
  ensure(!full_, "a buffer is filled twice");
  auto* storage = bytes_.storage().unsafeGetStorageImpl();
  storage->set_data_ptr(pool_.take(bytes_.numel()));
  storage->set_nbytes(static_cast<std::size_t>(bytes_.numel()));
  full_ = true;
  return static_cast<std::uint8_t*>(storage->mutable_data());
}

void ReusableBuffer::empty() {
  if (!full_) return;
  auto* storage = bytes_.storage().unsafeGetStorageImpl();
  auto memory = storage->set_data_ptr(at::DataPtr(nullptr, pool_.device()));
  storage->set_nbytes(0);
  pool_.give_back(std::move(memory), bytes_.numel());
  full_ = false;
}

}  // namespace lorica::engine
