#include "io/dtype.hpp"

#include <array>

#include "io/plain_name.hpp"

namespace lorica::io {
namespace {

struct Row {
  std::string_view name;
  std::size_t bytes;
  std::string_view plain;
};

// In the order of the enumeration.
constexpr std::array<Row, 15> kRows{{{"F64", 8, "float64"},
                                     {"F32", 4, "float32"},
                                     {"F16", 2, "float16"},
                                     {"BF16", 2, "bfloat16"},
                                     {"F8_E4M3", 1, "float8_e4m3fn"},
                                     {"F8_E5M2", 1, "float8_e5m2"},
                                     {"I64", 8, "int64"},
                                     {"I32", 4, "int32"},
                                     {"I16", 2, "int16"},
                                     {"I8", 1, "int8"},
                                     {"U64", 8, "uint64"},
                                     {"U32", 4, "uint32"},
                                     {"U16", 2, "uint16"},
                                     {"U8", 1, "uint8"},
                                     {"BOOL", 1, "bool"}}};
static_assert(kRows.size() == static_cast<std::size_t>(Dtype::boolean) + 1);

}  // namespace

std::size_t dtype_size(Dtype dtype) {
  return kRows[static_cast<std::size_t>(dtype)].bytes;
}

std::string_view dtype_name(Dtype dtype) {
  return kRows[static_cast<std::size_t>(dtype)].name;
}

std::string_view plain_name(Dtype dtype) {
  return kRows[static_cast<std::size_t>(dtype)].plain;
}

std::optional<Dtype> parse_dtype(std::string_view name) {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name == name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

}  // namespace lorica::io
