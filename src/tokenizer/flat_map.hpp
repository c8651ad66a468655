// A hash map from pairs of 32-bit numbers to pairs of 32-bit numbers in one array: merges and tries are looked up in it
// all the time.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace lorica::tokenizer {

class FlatMap {
 public:
  struct Value {
    std::uint32_t first, second;
  };

  explicit FlatMap(std::size_t expected = 8) { resize(expected); }

  /// Inserts or replaces. Keys with both halves 0xFFFFFFFF are not allowed.
  void set(std::uint32_t a, std::uint32_t b, Value value) {
    if ((count_ + 1) * 2 > slots_.size()) resize(count_ * 2 + 8);
    Slot& slot = find_slot(key_of(a, b));
    if (slot.key == kEmpty) ++count_;
    slot = {key_of(a, b), value};
  }
  /// The value, or nullptr.
  const Value* find(std::uint32_t a, std::uint32_t b) const {
    const Slot& slot = const_cast<FlatMap*>(this)->find_slot(key_of(a, b));
    return slot.key == kEmpty ? nullptr : &slot.value;
  }
  std::size_t size() const { return count_; }

 private:
  struct Slot {
    std::uint64_t key;
    Value value;
  };
  static constexpr std::uint64_t kEmpty = ~0ULL;
  static std::uint64_t key_of(std::uint32_t a, std::uint32_t b) { return static_cast<std::uint64_t>(a) << 32 | b; }

  Slot& find_slot(std::uint64_t key) {
    std::size_t at = static_cast<std::size_t>((key * 0x9E3779B97F4A7C15ULL) >> shift_);
    while (slots_[at].key != key && slots_[at].key != kEmpty) at = (at + 1) & (slots_.size() - 1);
    return slots_[at];
  }

  void resize(std::size_t expected) {
    std::size_t size = 16;
    int bits = 4;
    while (size < expected * 2) size *= 2, ++bits;
    std::vector<Slot> old(size, Slot{kEmpty, {0, 0}});
    old.swap(slots_);
    shift_ = 64 - bits;
    for (const Slot& slot : old) {
      if (slot.key != kEmpty) find_slot(slot.key) = slot;
    }
  }

  std::vector<Slot> slots_;
  std::size_t count_ = 0;
  int shift_ = 60;
};

}  // namespace lorica::tokenizer
