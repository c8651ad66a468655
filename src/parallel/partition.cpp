#include "parallel/partition.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "io/regex.hpp"

namespace lorica::parallel {
namespace {

constexpr std::size_t kLongestPattern = 200;

std::vector<std::string> layer_names(BlockFacts::Kind kind) {
  switch (kind) {
    case BlockFacts::Kind::embedding:
      return {"PrepareInputsPipe", "EmbeddingPipe"};
    case BlockFacts::Kind::head:
      return {"NormPipe", "LmHeadPipe", "LossPipe"};
    default:
      return {"DecoderLayerPipe"};
  }
}

std::string own_name(BlockFacts::Kind kind) {
  switch (kind) {
    case BlockFacts::Kind::embedding:
      return "embedding";
    case BlockFacts::Kind::head:
      return "head";
    default:
      return "decoderlayer";
  }
}

/// Where each part but the first begins, if the layers are dealt out evenly.
std::vector<std::size_t> even_cuts(const std::vector<BlockFacts>& blocks, std::size_t parts) {
  std::vector<std::size_t> block_of;  // by layer
  for (std::size_t b = 0; b < blocks.size(); ++b)
    block_of.insert(block_of.end(), layer_names(blocks[b].kind).size(), b);
  std::vector<std::size_t> cuts;
  std::size_t layer = 0;
  for (std::size_t part = 0; part + 1 < parts; ++part) {
    layer += block_of.size() / parts + (part < block_of.size() % parts ? 1 : 0);
    cuts.push_back(block_of[layer]);
  }
  // Every part has a block: cut i stands between i + 1 parts before it and parts − 1 − i behind.
  for (std::size_t i = cuts.size(), limit = blocks.size(); i-- > 0;) limit = cuts[i] = std::min(cuts[i], limit - 1);
  for (std::size_t i = 0; i < cuts.size(); ++i) cuts[i] = std::max(cuts[i], i == 0 ? 1 : cuts[i - 1] + 1);
  return cuts;
}

/// The best way found to make `j` parts of the first blocks.
struct Best {
  double spread = std::numeric_limits<double>::infinity();  ///< heaviest − lightest
  double heaviest = 0, lightest = std::numeric_limits<double>::infinity();
  std::size_t cut = 0;  ///< where the last part begins
};

/// Cuts by weight. For each number of blocks and of parts only the one with the smallest spread is followed up, as
/// qlora-pipe-lite does: nearly always the best, and always the same.
std::vector<std::size_t> weighted_cuts(const std::vector<double>& weights, std::size_t parts) {
  const auto count = weights.size();
  std::vector<double> sums(count + 1, 0);
  for (std::size_t i = 0; i < count; ++i) sums[i + 1] = sums[i] + weights[i];
  std::vector<std::vector<Best>> best(parts + 1, std::vector<Best>(count + 1));
  best[0][0].spread = 0;
  for (std::size_t part = 1; part <= parts; ++part) {
    for (std::size_t end = part; end <= count; ++end) {
      for (std::size_t cut = part - 1; cut < end; ++cut) {
        const auto& before = best[part - 1][cut];
        const double weight = sums[end] - sums[cut];
        const double heaviest = std::max(before.heaviest, weight), lightest = std::min(before.lightest, weight);
        // What can't be made stays infinite.
        const double spread =
            before.spread < std::numeric_limits<double>::infinity() ? heaviest - lightest : before.spread;
        auto& found = best[part][end];
        if (spread <= found.spread) found = {spread, heaviest, lightest, cut};
      }
    }
  }
  std::vector<std::size_t> cuts;
  for (std::size_t part = parts, end = count; part > 1; --part) {
    end = best[part][end].cut;
    cuts.insert(cuts.begin(), end);
  }
  return cuts;
}

/// By block: its layers whose class name is found; or 1, if only our own name is.
std::vector<double> count_found(const std::vector<BlockFacts>& blocks, const io::Regex& anywhere) {
  const auto found = [&](const std::string& name) { return anywhere.match(name); };
  std::vector<double> weights;
  for (const auto& block : blocks) {
    const auto names = layer_names(block.kind);
    const auto layers = std::count_if(names.begin(), names.end(), found);
    weights.push_back(layers > 0 ? static_cast<double>(layers) : found(own_name(block.kind)) ? 1 : 0);
  }
  return weights;
}

std::vector<double> type_weights(const std::vector<BlockFacts>& blocks, const std::string& pattern) {
  // Matching is bounded, but not by little: names are short, so a short pattern can't take long.
  if (pattern.size() > kLongestPattern) {
    raise<ConfigError>("partition_method: the expression has {} characters; at most {} are allowed", pattern.size(),
                       kLongestPattern);
  }
  std::vector<double> weights;
  try {
    const io::Regex alone(pattern, "partition_method");  // so that a mistake is shown in what the user wrote
    weights = count_found(blocks, io::Regex("(?i)(?s:.*?)(?:" + pattern + ")", "partition_method"));
  } catch (const ModelError& error) {
    throw ConfigError(error.what());
  }
  if (std::all_of(weights.begin(), weights.end(), [](double weight) { return weight == 0; })) {
    raise<ConfigError>(
        "partition_method: '{}' is found in no layer's type. Types: embedding, decoderlayer, head (or "
        "PrepareInputsPipe, EmbeddingPipe, DecoderLayerPipe, NormPipe, LmHeadPipe, LossPipe)",
        pattern);
  }
  return weights;
}

std::vector<std::size_t> cuts_for(const std::vector<BlockFacts>& blocks, const std::string& method, std::size_t parts) {
  const auto kind =
      to_lower(method.substr(0, method.find(':') == std::string::npos ? method.size() : method.find(':') + 1));
  if (kind == "uniform") return even_cuts(blocks, parts);
  if (kind == "type:") return weighted_cuts(type_weights(blocks, method.substr(kind.size())), parts);
  if (kind != "parameters") {
    raise<ConfigError>("partition_method: '{}' is none of uniform, parameters, type:REGEX", method);
  }
  std::vector<double> weights;
  for (const auto& block : blocks) weights.push_back(static_cast<double>(block.trained));
  return weighted_cuts(weights, parts);
}

}  // namespace

std::vector<std::vector<BlockRun>> partition(const std::vector<BlockFacts>& blocks, const std::string& method,
                                             int stages, int interleave) {
  ensure(!blocks.empty() && stages > 0 && interleave > 0, "a partition of {} blocks to {} x {}", blocks.size(), stages,
         interleave);
  const auto parts = static_cast<std::size_t>(stages) * static_cast<std::size_t>(interleave);
  if (parts > blocks.size()) {
    raise<ConfigError>(
        "pipeline_stages: {} stages{} need {} parts, but the model has {} blocks (its layers, the embedding and the "
        "head): at most {} stages fit",
        stages, interleave > 1 ? fmt::format(" of {} runs of blocks each (pipeline_interleave)", interleave) : "",
        parts, blocks.size(), blocks.size() / static_cast<std::size_t>(interleave));
  }
  auto cuts = cuts_for(blocks, method, parts);
  cuts.insert(cuts.begin(), 0);
  cuts.push_back(blocks.size());
  std::vector<std::vector<BlockRun>> runs(static_cast<std::size_t>(stages));
  for (std::size_t part = 0; part < parts; ++part) {
    runs[part % runs.size()].push_back({cuts[part], cuts[part + 1]});
  }
  return runs;
}

}  // namespace lorica::parallel
