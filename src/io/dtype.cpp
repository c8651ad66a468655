#include "io/dtype.hpp"

#include <array>

namespace lorica::io {
namespace {

struct Row {
  std::string_view name;
  std::size_t bytes;
};

// In the order of the enumeration.
constexpr std::array<Row, 15> kRows{{{"F64", 8},
                                     {"F32", 4},
                                     {"F16", 2},
                                     {"BF16", 2},
                                     {"F8_E4M3", 1},
                                     {"F8_E5M2", 1},
                                     {"I64", 8},
                                     {"I32", 4},
                                     {"I16", 2},
                                     {"I8", 1},
                                     {"U64", 8},
                                     {"U32", 4},
                                     {"U16", 2},
                                     {"U8", 1},
                                     {"BOOL", 1}}};
static_assert(kRows.size() == static_cast<std::size_t>(Dtype::boolean) + 1);

}  // namespace

std::size_t dtype_size(Dtype dtype) {
  return kRows[static_cast<std::size_t>(dtype)].bytes;
}

std::string_view dtype_name(Dtype dtype) {
  return kRows[static_cast<std::size_t>(dtype)].name;
}

std::optional<Dtype> parse_dtype(std::string_view name) {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name == name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

}  // namespace lorica::io
