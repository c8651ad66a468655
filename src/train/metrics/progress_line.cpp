#include "train/metrics/progress_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/strings.hpp"
#include "base/wording.hpp"
#include "train/metrics/status_line.hpp"

namespace lorica::train {
namespace {

constexpr int kNarrowestBar = 6, kWidestBar = 30;

std::string rate_text(double tokens_per_second) {
  if (!std::isfinite(tokens_per_second)) return "? tokens/s";
  if (tokens_per_second < 10) return fmt::format("{:.1f} tokens/s", tokens_per_second);
  return format_count(std::llround(tokens_per_second)) + " tokens/s";
}

double share_done(const ProgressFacts& facts) {
  return facts.total_steps > 0 ? static_cast<double>(facts.step) / static_cast<double>(facts.total_steps) : 0;
}

std::string step_text(const ProgressFacts& facts) {
  return fmt::format("step {}/{}", facts.step, facts.total_steps);
}

/// Where a part stands: the first two in front of the others, whatever found room before them.
enum class Spot { percent, bar, list };

/// A part of the line. `text` is empty where there is nothing to say; a bar's is made when its width is known.
struct Part {
  Spot spot;
  const char* example;
  const char* meaning;
  std::string (*text)(const ProgressFacts&);
};

/// By their worth to the reader. The first two always stay.
constexpr Part kParts[] = {
    {Spot::list, "step 60/500", "optimizer steps done, and those of the whole run", step_text},
    {Spot::list, "loss 1.2345", "the step's training loss",
     [](const ProgressFacts& facts) { return fmt::format("loss {:.4f}", facts.loss); }},
    {Spot::list, "03:40 left", "time until the last step, by this session's steps, evaluations and checkpoints so far",
     [](const ProgressFacts& facts) { return clock_text(facts.remaining) + " left"; }},
    {Spot::percent, "12%", "share of all steps that is done",
     [](const ProgressFacts& facts) { return fmt::format("{:.0f}% ", std::floor(share_done(facts) * 100)); }},
    {Spot::bar, "|██▍       |", "the same, drawn; as wide as there is room",
     [](const ProgressFacts&) { return std::string(); }},
    {Spot::list, "1,234 tokens/s", "tokens that went through the model in a second, over all processes",
     [](const ProgressFacts& facts) { return rate_text(facts.tokens_per_second); }},
    {Spot::list, "lr 1.00e-04", "learning rate",
     [](const ProgressFacts& facts) { return fmt::format("lr {:.2e}", facts.lr); }},
    {Spot::list, "eval loss 1.2301", "loss of the last evaluation, once there was one",
     [](const ProgressFacts& facts) {
       return facts.evaluation_loss ? fmt::format("eval loss {:.4f}", *facts.evaluation_loss) : std::string();
     }},
    {Spot::list, "memory 1.50 GiB", "the most memory so far, of the device or of the process",
     [](const ProgressFacts& facts) {
       return facts.peak_memory_bytes > 0 ? "memory " + format_bytes(facts.peak_memory_bytes) : std::string();
     }},
    {Spot::list, "gradient norm 0.31", "norm of all gradients, before clipping",
     [](const ProgressFacts& facts) {
       return facts.grad_norm ? fmt::format("gradient norm {:.3g}", *facts.grad_norm) : std::string();
     }},
    {Spot::list, "45 % of peak speed",
     "speed of the step's matrix products beside the best that this machine has shown in this run",
     [](const ProgressFacts& facts) {
       return facts.matmul_share ? percent(*facts.matmul_share, 0) + " of peak speed" : std::string();
     }},
    {Spot::list, "00:30 elapsed", "time since this session's first step began",
     [](const ProgressFacts& facts) { return clock_text(facts.elapsed) + " elapsed"; }},
};

}  // namespace

std::string clock_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto whole = static_cast<std::int64_t>(seconds);
  const auto clock = fmt::format("{:02}:{:02}", whole / 60 % 60, whole % 60);
  if (whole >= 86400) return fmt::format("{}d {:02}:{}", whole / 86400, whole / 3600 % 24, clock);
  return whole >= 3600 ? fmt::format("{}:{}", whole / 3600, clock) : clock;
}

std::string bar_text(double share, int width) {
  static const char* const kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighths = static_cast<int>(std::clamp(share, 0.0, 1.0) * width * 8 + 1e-9);
  std::string text;
  for (int i = 0; i < eighths / 8; ++i) text += "█";
  text += kEighths[eighths % 8];
  text.append(static_cast<std::size_t>(width - eighths / 8 - (eighths % 8 != 0)), ' ');
  return text;
}

std::string progress_line(const ProgressFacts& facts, int columns) {
  std::string percent_done, list;
  bool bar = false;
  int used = 0;
  for (const auto& part : kParts) {
    auto text = part.spot == Spot::bar ? std::string(kNarrowestBar + 3, ' ') : part.text(facts);
    if (text.empty()) continue;
    if (part.spot == Spot::list && !list.empty()) text = ", " + text;
    const bool stays = &part < kParts + 2;
    const int width = display_width(text);
    if (!stays && used + width > columns) break;
    used += width;
    if (part.spot == Spot::list) list += text;
    if (part.spot == Spot::percent) percent_done = text;
    bar = bar || part.spot == Spot::bar;
  }
  if (!bar) return percent_done + list;
  const int width = std::min(kWidestBar, kNarrowestBar + columns - used);
  return fmt::format("{}|{}| {}", percent_done, bar_text(share_done(facts), width), list);
}

std::string progress_sentence(const ProgressFacts& facts) {
  auto text = step_text(facts) + fmt::format(", loss {:.4f}, lr {:.2e}", facts.loss, facts.lr);
  if (facts.grad_norm) text += fmt::format(", gradient norm {:.3g}", *facts.grad_norm);
  text += ", " + rate_text(facts.tokens_per_second);
  if (facts.matmul_share) text += " (" + percent(*facts.matmul_share, 0) + " of peak speed)";
  if (facts.peak_memory_bytes > 0) text += ", memory " + format_bytes(facts.peak_memory_bytes);
  return text + fmt::format(", elapsed {}, left {}", clock_text(facts.elapsed), clock_text(facts.remaining));
}

std::string progress_markdown() {
  std::string text = "| shown | meaning |\n| --- | --- |\n";
  for (const auto& part : kParts) {
    text += fmt::format("| `{}` | {} |\n", replace_all(part.example, "|", "\\|"), part.meaning);
  }
  return text;
}

}  // namespace lorica::train
