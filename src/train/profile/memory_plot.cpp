// A memory timeline as a page with a stacked plot. No scripts, styles or fonts from elsewhere.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/strings.hpp"
#include "train/metrics/plot.hpp"
#include "train/profile/memory_timeline.hpp"

namespace lorica::train {
namespace {

constexpr double kWidth = 1100, kHeight = 480, kLeft = 84, kRight = 20, kTop = 16, kBottom = 48;
constexpr std::size_t kColumns = 1000;  ///< about one a pixel; of the points in a column, the highest is drawn
// Distinguishable also by the colour-blind (Okabe and Ito 2008); grey for what nobody knows.
constexpr const char* kColors[] = {"#0072B2", "#56B4E9", "#009E73", "#000000", "#D55E00",
                                   "#E69F00", "#F0E442", "#CC79A7", "#999999"};
static_assert(std::size(kColors) == kPurposes);

struct Scale {
  double time_ns = 1, bytes = 1;
  double x(double time) const { return kLeft + time / time_ns * (kWidth - kLeft - kRight); }
  double y(double value) const { return kHeight - kBottom - value / bytes * (kHeight - kTop - kBottom); }
};

/// In each column the highest point, so that no peak is lost, and what was there before it.
std::vector<MemoryTimeline::Point> thinned(const std::vector<MemoryTimeline::Point>& points, double time_ns) {
  std::vector<MemoryTimeline::Point> kept;
  std::size_t column = kColumns;
  for (const auto& point : points) {
    const auto at = static_cast<std::size_t>(static_cast<double>(point.time_ns) / time_ns * (kColumns - 1));
    if (kept.empty() || at != column) {
      kept.push_back(point);
      column = at;
    } else if (point.total() > kept.back().total()) {
      kept.back() = point;
    }
  }
  return kept;
}

/// One purpose's area: along its upper edge, which has steps, and back along its lower one.
std::string area(const std::vector<MemoryTimeline::Point>& points, const Scale& scale, std::size_t purpose) {
  std::string upper, lower;
  const auto corner = [&](double time, double value) {
    return fmt::format("{:.1f},{:.1f} ", scale.x(time), scale.y(value));
  };
  for (std::size_t i = 0; i < points.size(); ++i) {
    double below = 0;
    for (std::size_t p = 0; p < purpose; ++p) below += static_cast<double>(points[i].bytes[p]);
    const double above = below + static_cast<double>(points[i].bytes[purpose]);
    const auto begin = static_cast<double>(points[i].time_ns);
    const double end = i + 1 < points.size() ? static_cast<double>(points[i + 1].time_ns) : scale.time_ns;
    upper += corner(begin, above) + corner(end, above);
    lower = corner(end, below) + corner(begin, below) + lower;
  }
  return fmt::format("<polygon fill=\"{}\" points=\"{}{}\"><title>{}</title></polygon>\n", kColors[purpose], upper,
                     lower, purpose_name(static_cast<Purpose>(purpose)));
}

std::string axes(const Scale& scale) {
  std::string svg;
  const double milliseconds = scale.time_ns / 1e6, mebibytes = scale.bytes / (1 << 20);
  const auto times = nice_ticks(0, milliseconds, 8), sizes = nice_ticks(0, mebibytes, 6);
  const auto time_texts = tick_texts(times), size_texts = tick_texts(sizes);
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (times[i] > milliseconds) continue;
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", scale.x(times[i] * 1e6),
                       kHeight - kBottom + 18, time_texts[i]);
  }
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] > mebibytes) continue;
    const double at = scale.y(sizes[i] * (1 << 20));
    svg += fmt::format(
        "<line x1=\"{}\" y1=\"{:.1f}\" x2=\"{}\" y2=\"{:.1f}\" stroke=\"#bbb\" stroke-opacity=\"0.5\"/>"
        "<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
        kLeft, at, kWidth - kRight, at, kLeft - 8, at + 4, size_texts[i]);
  }
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">milliseconds</text>\n", kWidth / 2, kHeight - 10);
  return svg +
         fmt::format("<text x=\"18\" y=\"{0}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {0})\">MiB</text>\n",
                     kHeight / 2);
}

std::string escape(std::string text) {
  text = replace_all(std::move(text), "&", "&amp;");
  text = replace_all(std::move(text), "<", "&lt;");
  return replace_all(std::move(text), ">", "&gt;");
}

/// Colours, and what the peak consists of.
std::string legend(const MemoryTimeline::Point& peak) {
  std::string rows;
  for (std::size_t p = kPurposes; p-- > 0;) {
    rows += fmt::format("<tr><td style=\"background:{}\">&emsp;</td><td>{}</td><td align=\"right\">{}</td></tr>\n",
                        kColors[p], purpose_name(static_cast<Purpose>(p)),
                        format_bytes(static_cast<std::uint64_t>(std::max<std::int64_t>(0, peak.bytes[p]))));
  }
  return "<table cellpadding=\"4\">\n" + rows + "</table>\n";
}

}  // namespace

std::string to_html(const MemoryTimeline& timeline, const std::string& title) {
  const auto& peak = timeline.points[timeline.peak];
  Scale scale;
  scale.time_ns = std::max(1.0, static_cast<double>(timeline.points.back().time_ns));
  scale.bytes = std::max(1.0, static_cast<double>(peak.total()) * 1.05);
  const auto points = thinned(timeline.points, scale.time_ns);
  std::string areas;
  for (std::size_t purpose = 0; purpose < kPurposes; ++purpose) areas += area(points, scale, purpose);
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title></head>\n"
      "<body style=\"font-family:sans-serif\">\n<h3>{0}</h3>\n"
      "<p>Tensors hold at most {1}, {2:.2f} ms after the start{3}:</p>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{4}\" height=\"{5}\" font-size=\"12\">\n{6}{7}</svg>\n"
      "<p>At that moment:</p>\n{8}</body></html>\n",
      escape(title), format_bytes(static_cast<std::uint64_t>(std::max<std::int64_t>(0, peak.total()))),
      static_cast<double>(peak.time_ns) / 1e6, timeline.peak_scope.empty() ? "" : ", in " + escape(timeline.peak_scope),
      kWidth, kHeight, areas, axes(scale), legend(peak));
}

}  // namespace lorica::train
