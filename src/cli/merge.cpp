// lorica merge: an adapter folded into its base model's weights.
#include "engine/merge.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/strings.hpp"
#include "base/wording.hpp"
#include "cli/commands.hpp"

namespace lorica::cli {

int run_merge(const config::ParsedConfig& parsed) {
  const auto& config = parsed.config;
  const auto report = engine::merge_adapter(config);
  for (const auto& line : report.account.lines()) spdlog::warn("{}", line);
  spdlog::info("merged {} into {} ({} in {}, {})", counted(report.modules, "module"), config.output,
               format_bytes(report.bytes), counted(report.files, "file"), report.dtype);
  if (report.dequantized) {
    spdlog::info(
        "the base was quantized: its weights were dequantized, the adapter added in float32, and nothing quantized "
        "again");
  }
  spdlog::info(
      "largest difference between the logits of base + adapter and of the merged model: {:.3g} (rounding "
      "explains {:.3g}; logits up to {:.3g})",
      report.largest_difference, report.tolerance, report.largest_logit);
  return 0;
}

}  // namespace lorica::cli
