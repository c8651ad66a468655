#include "model/rope_tables.hpp"

#include <ATen/ATen.h>

#include <algorithm>

namespace lorica::model {
namespace {

/// Angles of consecutive rows, and what their cos and sin are scaled by.
class TableBuilder {
 public:
  TableBuilder(const RopeSpec& rope, std::int64_t max_positions) : rope_(rope), max_positions_(max_positions) {}

  void add(std::span<const std::int32_t> positions) {
    const auto longest = *std::max_element(positions.begin(), positions.end());
    const auto rope = rope_frequencies(rope_.config, rope_.head_dim, max_positions_, longest + 1);
    const auto frequencies = at::from_blob(const_cast<float*>(rope.inverse_frequencies.data()),
                                           {static_cast<std::int64_t>(rope.inverse_frequencies.size())}, at::kFloat);
    auto rows = at::empty({static_cast<std::int64_t>(positions.size()), 1}, at::kFloat);
    std::copy(positions.begin(), positions.end(), rows.data_ptr<float>());
    const auto angles = rows * frequencies.unsqueeze(0);
    cosines_.push_back(angles.cos().mul_(rope.attention_scaling));
    sines_.push_back(angles.sin().mul_(rope.attention_scaling));
  }

  RopeTable build(at::Device device) const { return {at::cat(cosines_).to(device), at::cat(sines_).to(device)}; }

 private:
  const RopeSpec& rope_;
  std::int64_t max_positions_;
  std::vector<at::Tensor> cosines_, sines_;
};

}  // namespace

std::vector<RopeTable> make_rope_tables(const Architecture& architecture, std::span<const std::int32_t> positions,
                                        std::span<const std::int64_t> offsets, at::Device device) {
  std::vector<RopeTable> tables;
  for (const auto& rope : architecture.ropes) {
    TableBuilder table(rope, architecture.max_positions);
    if (rope_depends_on_length(rope.config)) {
      for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
        table.add(positions.subspan(static_cast<std::size_t>(offsets[s]),
                                    static_cast<std::size_t>(offsets[s + 1] - offsets[s])));
      }
    } else {
      table.add(positions);
    }
    tables.push_back(table.build(device));
  }
  return tables;
}

}  // namespace lorica::model
