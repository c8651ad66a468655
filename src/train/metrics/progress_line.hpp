// What the progress of a run looks like, for a person's eyes: laid out into the columns that a terminal has, or as a
// whole line where the output is piped.
//
//   12% |██▍                 | step 60/500, loss 1.2345, 03:40 left, 1,234 tokens/s, lr 1.00e-04, 1.50 GiB
//   step 60/500, loss 1.2345, lr 1.00e-04, gradient norm 0.31, 1,234 tokens/s (45 % of peak speed), memory 1.50 GiB,
//   elapsed 00:30, left 03:40
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lorica::train {

struct ProgressFacts {
  std::int64_t step = 0, total_steps = 0;
  double loss = 0, lr = 0;
  std::optional<double> grad_norm;
  double tokens_per_second = 0;
  std::optional<double> matmul_share;  ///< 0…1
  std::uint64_t peak_memory_bytes = 0;
  std::optional<double> evaluation_loss;  ///< of the last evaluation
  double elapsed = 0, remaining = 0;      ///< seconds of this session; NaN: not known
};

/// As much as fits into `columns`: the step and the loss first, then one fact after the other by its worth to the
/// reader, the bar as wide as what is left. Wider than `columns` only if the step and the loss alone are.
std::string progress_line(const ProgressFacts& facts, int columns);

/// All of it.
std::string progress_sentence(const ProgressFacts& facts);

/// The table of docs/METRICS.md: what the line shows, in the order in which it finds room.
std::string progress_markdown();

/// tqdm's form: "03:40", "1:02:03", "2d 01:02:03"; "?" for a time that isn't known.
std::string clock_text(double seconds);
/// "█▏   ": `width` columns filled to `share` (0…1) in eighths.
std::string bar_text(double share, int width);

}  // namespace lorica::train
