// What the names and headers of a checkpoint's files say of its quantized weights, without reading them. (Reading and
// writing them: quant/weight.hpp.)
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quant/weight.hpp"

namespace lorica::quant {

/// A weight as its checkpoint describes it: its format, as load_prequantized() would return it, and its logical shape.
struct PackedWeight {
  WeightFormat format;
  std::vector<std::int64_t> shape;
};

/// Reads what stands beside the weight, not the weight; nullopt if it isn't quantized in a format that we know. Throws
/// ModelError naming tensor and file for a description that is malformed or of an unknown variant.
std::optional<PackedWeight> describe_prequantized(const io::WeightFiles& files, const std::string& weight_name);

/// The weight that the tensor of this name describes ("X.weight" of "X.weight.absmax" and of "X.SCB"); "" if it is no
/// such part.
std::string packed_weight_of(std::string_view tensor_name);

}  // namespace lorica::quant
