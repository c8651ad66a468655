// The formats that there are: one row each.
#include <array>

#include "quant/formats/formats.hpp"

namespace lorica::quant {

std::span<const Format* const> formats() {
  static const std::array<const Format*, 4> rows{&dense_format(), &nf4_format(), &fp4_format(), &int8_format()};
  return rows;
}

const Format& find_format(std::string_view name) {
  std::vector<std::string_view> known;
  for (const auto* format : formats()) {
    if (format->name() == name) return *format;
    known.push_back(format->name());
  }
  raise<ConfigError>("there is no weight format '{}'; there are {}", name, fmt::join(known, ", "));
}

std::int64_t PartSpec::bytes() const {
  auto total = static_cast<std::int64_t>(c10::elementSize(dtype));
  for (const auto size : shape) total *= size;
  return total;
}

PartSpec rows_part(std::string name, at::ScalarType dtype, std::vector<std::int64_t> shape) {
  PartSpec part{std::move(name), dtype, std::move(shape)};
  part.units = part.shape.empty() ? 1 : part.shape[0];
  part.unit_bytes = part.units == 0 ? 0 : part.bytes() / part.units;
  return part;
}

}  // namespace lorica::quant
