// How a stored matrix becomes panels of float32, written over lanes. Internal to kernels/; each instruction set's file
// includes it for itself.
//
// `Ops` derives from lanes (elementwise kernels use the same) and adds:
//   Words, kWidth words of 32 bits: load_words(address), no_words(), transpose(Words (&)[kWidth]), as_floats(words),
//   low_half(words) and high_half(words), each half of a word as a bfloat16; signed_byte(words, p), byte p of each word
//   as a number;
//   Table(values), the 16 code values; look_up(table, words, p), what the code p of each word stands for;
//   load_front and store_front, of the first `count` ≤ kWidth floats;
//   decode32(bytes, values, scale, front, back), 32 values · scale from 16 bytes, half of them to `front`.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/gemm_impl.hpp"

namespace lorica::kernels {
namespace {

// Rows of memory that are far apart: the hardware doesn't foresee the next one, so it is asked for this many early.
constexpr std::int64_t kRowsAhead = 8;

/// Whether rows of 4-bit codes are whole groups, so that every eighth code begins a word and no word has two groups.
bool has_whole_groups(const MatrixSource& m) {
  return m.codec.bits == 4 && (m.columns & ((std::int64_t{1} << m.codec.group_shift) - 1)) == 0;
}

/// Where a word of 4-bit codes has its code p: the first of each byte is the high one.
constexpr int code_shift(int p) {
  return p / 2 * 8 + (p % 2 == 0 ? 4 : 0);
}

// ---- one row, of any kind

/// `count` values of 4 bits from element `first` on, none of them beyond the end of their group.
template <class Ops>
[[gnu::always_inline]] inline void decode_in_group(const MatrixSource& m, std::int64_t first, std::int64_t count,
                                                   float* out) {
  const auto* bytes = static_cast<const std::uint8_t*>(m.data);
  const float* const values = m.codec.table;
  const float scale = m.codec.scales[first >> m.codec.group_shift];
  std::int64_t i = 0;
  const auto one = [&] {
    const std::int64_t at = first + i;
    out[i++] = values[at % 2 == 0 ? bytes[at / 2] >> 4 : bytes[at / 2] & 15] * scale;
  };
  if (first % 2 != 0) one();
  for (; count - i >= 32; i += 32) Ops::decode32(bytes + (first + i) / 2, values, scale, out + i, out + i + 16);
  while (i < count) one();
}

/// `count` signed bytes of one row from element `first` on.
template <class Ops>
[[gnu::always_inline]] inline void decode_bytes(const MatrixSource& m, std::int64_t first, std::int64_t count,
                                                float* out) {
  const auto* codes = static_cast<const std::int8_t*>(m.data) + first;
  const float scale = m.codec.scales[first / m.columns];
  std::int64_t i = 0;
  for (; i + Ops::kWidth <= count; i += Ops::kWidth) {
    Ops::store(out + i, Ops::multiply(Ops::load(codes + i), Ops::set(scale)));
  }
  for (; i < count; ++i) out[i] = static_cast<float>(codes[i]) * scale;
}

/// `count` elements of one row from element `first` on.
template <class Ops>
void read_row(const MatrixSource& m, std::int64_t first, std::int64_t count, float* out) {
  if (m.codec.bits == 8) return decode_bytes<Ops>(m, first, count, out);
  if (m.codec.bits == 4) {
    const std::int64_t group = std::int64_t{1} << m.codec.group_shift;
    while (count > 0) {
      const std::int64_t length = std::min(count, group - (first & (group - 1)));
      decode_in_group<Ops>(m, first, length, out);
      first += length, count -= length, out += length;
    }
    return;
  }
  std::int64_t i = 0;
  if (m.type == FloatType::bf16) {
    const auto* in = static_cast<const std::uint16_t*>(m.data) + first;
    for (; i + Ops::kWidth <= count; i += Ops::kWidth) Ops::store(out + i, Ops::load(in + i));
  } else if (m.type == FloatType::f32) {
    const auto* in = static_cast<const float*>(m.data) + first;
    for (; i < count; i += Ops::kWidth) {
      const std::int64_t length = std::min(Ops::kWidth, count - i);
      Ops::store_front(out + i, Ops::load_front(in + i, length), length);
    }
  }
  for (; i < count; ++i) out[i] = load_float(m.data, m.type, first + i);
}

// ---- rows side by side

/// What the words of a matrix hold, for turn_words: each `kPerWord` values.
template <class Ops>
struct FloatWords {
  static constexpr int kPerWord = 1;
  void begin(std::int64_t) {}
  auto value(typename Ops::Words words, int, int) const { return Ops::as_floats(words); }
};

template <class Ops>
struct Bfloat16Words {
  static constexpr int kPerWord = 2;
  void begin(std::int64_t) {}
  auto value(typename Ops::Words words, int, int p) const {
    return p == 0 ? Ops::low_half(words) : Ops::high_half(words);
  }
};

/// Signed bytes, from `row` on.
template <class Ops>
class ByteWords {
 public:
  static constexpr int kPerWord = 4;
  ByteWords(const MatrixSource& m, std::int64_t row, std::int64_t rows) {
    std::copy_n(m.codec.scales + row, rows, scales_);
  }
  void begin(std::int64_t) {}
  auto value(typename Ops::Words words, int, int p) const {
    return Ops::multiply(Ops::signed_byte(words, p), Ops::load(scales_));
  }

 private:
  alignas(64) float scales_[Ops::kWidth] = {};
};

/// 4-bit rows of whole groups, from `row` and `column` on; column is a multiple of 8.
template <class Ops>
class CodeWords {
 public:
  static constexpr int kPerWord = 8;
  CodeWords(const MatrixSource& m, std::int64_t row, std::int64_t rows, std::int64_t column)
      : table_(m.codec.table),
        row_groups_(m.columns >> m.codec.group_shift),
        group_scales_(m.codec.scales + row * row_groups_),
        rows_(rows),
        column_(column),
        shift_(m.codec.group_shift) {}

  void begin(std::int64_t j) {
    const std::int64_t at = column_ + j, first = at >> shift_;
    first_ = static_cast<int>(at & ((std::int64_t{1} << shift_) - 1));
    const std::int64_t count = std::min(row_groups_ - first, ((first_ + 8 * Ops::kWidth - 1) >> shift_) + 1);
    for (std::int64_t g = 0; g < count; ++g) {
      for (std::int64_t i = 0; i < rows_; ++i) scales_[g][i] = group_scales_[i * row_groups_ + first + g];
    }
  }
  auto value(typename Ops::Words words, int word, int p) const {
    return Ops::multiply(Ops::look_up(table_, words, p), Ops::load(scales_[(first_ + 8 * word) >> shift_]));
  }

 private:
  typename Ops::Table table_;
  std::int64_t row_groups_;
  const float* group_scales_;
  std::int64_t rows_, column_;
  int shift_, first_ = 0;
  alignas(64) float scales_[Ops::kWidth / 4 + 1][Ops::kWidth] = {};  ///< of a group, each row's scale
};

/// out[j · panel + i] = value j of row i for j < count, i < rows ≤ lanes, 0 for rows ≤ i < lanes ≤ Ops::kWidth. Row i
/// begins at first + i · stride bytes.
template <class Ops, class Format>
void turn_words(Format& format, const std::byte* first, std::int64_t stride, std::int64_t rows, std::int64_t lanes,
                std::int64_t count, std::int64_t panel, float* out, Lines& next) {
  constexpr int kWords = static_cast<int>(Ops::kWidth), kPerWord = Format::kPerWord, kValues = kWords * kPerWord;
  typename Ops::Words words[kWords];
  std::int64_t j = 0;
  for (; j + kValues <= count; j += kValues, first += 4 * kWords, out += kValues * panel) {
    format.begin(j);
#pragma GCC unroll 16
    for (int i = 0; i < kWords; ++i) {
      words[i] = i < rows ? Ops::load_words(first + i * stride) : Ops::no_words();
      __builtin_prefetch(first + std::min<std::int64_t>(i, rows - 1) * stride + kLine);
      if (i < rows) next.ask();
    }
    Ops::transpose(words);
#pragma GCC unroll 16
    for (int word = 0; word < kWords; ++word) {
#pragma GCC unroll 8
      for (int p = 0; p < kPerWord; ++p) {
        Ops::store_front(out + (word * kPerWord + p) * panel, format.value(words[word], word, p), lanes);
      }
    }
  }
  if (j == count) return;
  alignas(64) std::byte rest[kWords][4 * kWords] = {};
  const std::int64_t bytes = ((count - j) * 32 / kPerWord + 7) / 8;
  for (std::int64_t i = 0; i < rows; ++i) std::memcpy(rest[i], first + i * stride, static_cast<std::size_t>(bytes));
  for (int i = 0; i < kWords; ++i) words[i] = Ops::load_words(rest[i]);
  Ops::transpose(words);
  format.begin(j);
  for (int v = 0; v < count - j; ++v) {
    Ops::store_front(out + v * panel, format.value(words[v / kPerWord], v / kPerWord, v % kPerWord), lanes);
  }
}

template <class Ops>
void interleave(const float* in, std::int64_t stride, std::int64_t width, std::int64_t count, float* out) {
  FloatWords<Ops> format;
  Lines none;
  for (std::int64_t i = 0; i < width; i += Ops::kWidth) {
    const std::int64_t rows = std::min(Ops::kWidth, width - i);
    turn_words<Ops>(format, reinterpret_cast<const std::byte*>(in + i * stride), stride * 4, rows, rows, count, width,
                    out + i, none);
  }
}

template <class Ops>
void turn(const MatrixSource& m, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
          std::int64_t panel, float* out, Lines& next) {
  for (std::int64_t i = 0; i < panel; i += Ops::kWidth) {
    const std::int64_t lanes = std::min(Ops::kWidth, panel - i), height = std::clamp<std::int64_t>(rows - i, 0, lanes);
    if (height == 0) {
      for (std::int64_t j = 0; j < columns; ++j) std::fill_n(out + j * panel + i, lanes, 0.0f);
      continue;
    }
    const auto words = [&](auto format) {
      turn_words<Ops>(format, address_of(m, row + i, column), bytes_of(m, m.stride), height, lanes, columns, panel,
                      out + i, next);
    };
    if (has_whole_groups(m) && column % 8 == 0) {
      words(CodeWords<Ops>(m, row + i, height, column));
    } else if (m.codec.bits == 8) {
      words(ByteWords<Ops>(m, row + i, height));
    } else if (!m.packed() && m.type == FloatType::f32) {
      words(FloatWords<Ops>());
    } else if (!m.packed() && m.type == FloatType::bf16) {
      words(Bfloat16Words<Ops>());
    } else {
      constexpr std::int64_t kPiece = 64;
      float piece[Ops::kWidth * kPiece];
      FloatWords<Ops> format;
      for (std::int64_t j = 0; j < columns; j += kPiece) {
        const std::int64_t length = std::min(kPiece, columns - j);
        for (std::int64_t r = 0; r < height; ++r) {
          read_row<Ops>(m, (row + i + r) * m.stride + column + j, length, piece + r * kPiece);
        }
        turn_words<Ops>(format, reinterpret_cast<const std::byte*>(piece), kPiece * 4, height, lanes, length, panel,
                        out + j * panel + i, next);
      }
    }
  }
}

// ---- columns side by side

/// body(row, where its columns go) for each row, asking for the rows to come.
template <class Body>
[[gnu::always_inline]] inline void for_stored_rows(const MatrixSource& m, std::int64_t row, std::int64_t rows,
                                                   std::int64_t column, std::int64_t columns, const Body& body) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto* ahead = address_of(m, row + std::min(i + kRowsAhead, rows - 1), column);
    const auto* end = ahead + bytes_of(m, columns);
    for (; ahead < end; ahead += kLine) __builtin_prefetch(ahead);
    body(i, (row + i) * m.stride + column);
  }
}

/// Columns that fill whole panels, of a kind that needs no care at the edges.
template <class Ops>
bool cut_evenly(const MatrixSource& m, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
                std::int64_t panel, std::int64_t step, float* out) {
  const auto each = [&]<class T>(const T* data, const auto& value) {
    for_stored_rows(m, row, rows, column, columns, [&](std::int64_t i, std::int64_t first) {
      for (std::int64_t p = 0; p * panel < columns; ++p) {
        float* target = out + p * step + i * panel;
        for (std::int64_t j = 0; j < panel; j += Ops::kWidth)
          Ops::store(target + j, value(Ops::load(data + first + p * panel + j), i));
      }
    });
    return true;
  };
  const auto dense = [&](const auto* data) { return each(data, [](auto x, std::int64_t) { return x; }); };
  if (columns % panel != 0 || panel % Ops::kWidth != 0) return false;
  if (!m.packed() && m.type == FloatType::f32) return dense(static_cast<const float*>(m.data));
  if (!m.packed() && m.type == FloatType::bf16) return dense(static_cast<const std::uint16_t*>(m.data));
  if (m.codec.bits == 8) {
    return each(static_cast<const std::int8_t*>(m.data),
                [&](auto x, std::int64_t i) { return Ops::multiply(x, Ops::set(m.codec.scales[row + i])); });
  }
  if (panel % 16 != 0 || column % 32 != 0 || columns % 32 != 0 || !has_whole_groups(m)) return false;
  const float* const values = m.codec.table;
  const auto* bytes = static_cast<const std::uint8_t*>(m.data);
  for_stored_rows(m, row, rows, column, columns, [&](std::int64_t i, std::int64_t first) {
    const auto target = [&](std::int64_t j) { return out + j / panel * step + i * panel + j % panel; };
    for (std::int64_t j = 0; j < columns; j += 32) {
      const float scale = m.codec.scales[(first + j) >> m.codec.group_shift];
      Ops::decode32(bytes + (first + j) / 2, values, scale, target(j), target(j + 16));
    }
  });
  return true;
}

template <class Ops>
void cut(const MatrixSource& m, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
         std::int64_t panel, std::int64_t step, float* out) {
  if (cut_evenly<Ops>(m, row, rows, column, columns, panel, step, out)) return;
  for_stored_rows(m, row, rows, column, columns, [&](std::int64_t i, std::int64_t first) {
    for (std::int64_t j = 0; j < columns; j += panel) {
      float* target = out + j / panel * step + i * panel;
      const std::int64_t width = std::min(panel, columns - j);
      read_row<Ops>(m, first + j, width, target);
      std::fill_n(target + width, panel - width, 0.0f);
    }
  });
}

}  // namespace
}  // namespace lorica::kernels
