#include "train/metrics/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/strings.hpp"

namespace lorica::train {
namespace {

constexpr double kWidth = 860, kHeight = 420;  // legends in lines of their own come on top
constexpr double kLeft = 84, kRight = 24, kTop = 48, kBottom = 56;
constexpr double kLegendLine = 18, kCharacter = 6.6;  // width of a character of this size, on average
// Distinguishable also by the colour-blind (Okabe and Ito 2008).
constexpr const char* kColors[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
  /// One value only: a little room around it.
  void widen() {
    if (low != high) return;
    const double room = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= room, high += room;
  }
};

/// An axis: its ticks decide its ends, so that no curve touches a border by accident.
struct Axis {
  std::vector<double> ticks;
  std::vector<std::string> texts;
  double low = 0, high = 1, step = 1;
  double share(double value) const { return (value - low) / (high - low); }
};

Axis make_axis(Range range, int count, bool tight, bool whole = false) {
  if (range.empty()) range = {0, 1};
  if (whole && range.low == range.high) range = {range.low - 1, range.high + 1};
  range.widen();
  Axis axis;
  axis.ticks = nice_ticks(range.low, range.high, count, whole ? 1 : 0);
  axis.step = axis.ticks.size() > 1 ? axis.ticks[1] - axis.ticks[0] : 1;
  axis.low = tight ? range.low : std::min(range.low, axis.ticks.front());
  axis.high = tight ? range.high : std::max(range.high, axis.ticks.back());
  if (tight) {
    std::erase_if(axis.ticks, [&](double tick) {
      return tick < axis.low - axis.step * 1e-9 || tick > axis.high + axis.step * 1e-9;
    });
  }
  axis.texts = tick_texts(axis.ticks);
  return axis;
}

std::string escape(std::string text) {
  text = replace_all(std::move(text), "&", "&amp;");
  text = replace_all(std::move(text), "<", "&lt;");
  text = replace_all(std::move(text), ">", "&gt;");
  return replace_all(std::move(text), "\"", "&quot;");
}

/// Where things stand: what legend and note need is taken from the plot's height.
struct Frame {
  Axis x, y;
  double height = kHeight, top = kTop, bottom = kHeight - kBottom;
  double x_of(double value) const { return kLeft + x.share(value) * (kWidth - kLeft - kRight); }
  double y_of(double value) const { return bottom - y.share(value) * (bottom - top); }
};

std::string draw_axes(const Plot& plot, const Frame& frame) {
  std::string svg;
  for (std::size_t i = 0; i < frame.y.ticks.size(); ++i) {
    const double at = frame.y_of(frame.y.ticks[i]);
    svg += fmt::format("<line x1=\"{}\" y1=\"{:.1f}\" x2=\"{}\" y2=\"{:.1f}\" stroke=\"#e4e4e4\"/>\n", kLeft, at,
                       kWidth - kRight, at);
    svg +=
        fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", kLeft - 8, at + 4, frame.y.texts[i]);
  }
  for (std::size_t i = 0; i < frame.x.ticks.size(); ++i) {
    const double at = frame.x_of(frame.x.ticks[i]);
    svg += fmt::format("<line x1=\"{:.1f}\" y1=\"{}\" x2=\"{:.1f}\" y2=\"{}\" stroke=\"#333\"/>\n", at, frame.bottom,
                       at, frame.bottom + 5);
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", at, frame.bottom + 20,
                       frame.x.texts[i]);
  }
  svg += fmt::format("<path d=\"M{} {}V{}H{}\" fill=\"none\" stroke=\"#333\"/>\n", kLeft, frame.top, frame.bottom,
                     kWidth - kRight);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", (kLeft + kWidth - kRight) / 2,
                     frame.bottom + 42, escape(plot.x_label));
  if (!plot.note.empty()) {
    svg += fmt::format("<text x=\"{}\" y=\"{}\" font-size=\"11\" fill=\"#777\" text-anchor=\"end\">{}</text>\n",
                       kWidth - kRight, frame.height - 8, escape(plot.note));
  }
  const double middle = (frame.top + frame.bottom) / 2;
  svg += fmt::format("<text x=\"18\" y=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {})\">{}</text>\n",
                     middle, middle, escape(plot.y_label));
  svg += fmt::format("<text x=\"{}\" y=\"26\" font-size=\"16\" font-weight=\"bold\">{}</text>\n", kLeft,
                     escape(plot.title));
  return svg;
}

const char* dashes_of(const Curve& curve) {
  return curve.dashed ? " stroke-dasharray=\"6 4\"" : "";
}

const char* color_of(const Curve& curve) {
  return kColors[static_cast<std::size_t>(curve.color) % std::size(kColors)];
}

std::string draw_curve(const Curve& curve, const Frame& frame) {
  std::string path, dots;
  bool pen_down = false;
  for (const auto& [px, py] : curve.points) {
    if (!std::isfinite(px) || !std::isfinite(py)) {
      pen_down = false;
      continue;
    }
    path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", frame.x_of(px), frame.y_of(py));
    pen_down = true;
    if (curve.markers || curve.points.size() == 1) {
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", frame.x_of(px),
                          frame.y_of(py), color_of(curve));
    }
  }
  if (path.empty()) return "";
  return fmt::format(
             "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-opacity=\"{}\"{} "
             "stroke-linejoin=\"round\"/>\n",
             path, color_of(curve), curve.faint ? 1 : 2, curve.faint ? 0.35 : 1, dashes_of(curve)) +
         dots;
}

double legend_width(const Curve& curve) {
  return curve.name.empty() ? 0 : 44 + kCharacter * static_cast<double>(curve.name.size());
}

/// Whether all curves' names fit beside the title; else each has a line of its own below it.
bool legend_fits(const Plot& plot) {
  double width = 24 + 9 * static_cast<double>(plot.title.size());
  for (const auto& curve : plot.curves) width += legend_width(curve);
  return width <= kWidth - kLeft - kRight;
}

double legend_lines(const Plot& plot) {
  return static_cast<double>(
      std::count_if(plot.curves.begin(), plot.curves.end(), [](const Curve& curve) { return !curve.name.empty(); }));
}

std::string draw_legend(const Plot& plot) {
  std::string svg;
  const bool one_line = legend_fits(plot);
  double x = kWidth - kRight, y = kTop;
  if (one_line) {
    for (const auto& curve : plot.curves) x -= legend_width(curve);
    y = 26;
  }
  for (const auto& curve : plot.curves) {
    if (curve.name.empty()) continue;
    const double left = one_line ? x : kLeft;
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{}\" x2=\"{:.1f}\" y2=\"{}\" stroke=\"{}\" stroke-width=\"{}\" "
        "stroke-opacity=\"{}\"{}/>\n"
        "<text x=\"{:.1f}\" y=\"{}\">{}</text>\n",
        left, y - 4, left + 22, y - 4, color_of(curve), curve.faint ? 1.5 : 2.5, curve.faint ? 0.45 : 1,
        dashes_of(curve), left + 28, y, escape(curve.name));
    one_line ? x += legend_width(curve) : y += kLegendLine;
  }
  return svg;
}

}  // namespace

std::vector<double> nice_ticks(double low, double high, int count, double smallest_step) {
  const double rough = std::max(smallest_step, (high - low) / std::max(1, count - 1));
  if (!(rough > 0) || !std::isfinite(rough)) return {low};
  const double power = std::pow(10.0, std::floor(std::log10(rough) + 1e-9));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * 0.999) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks;
  const auto first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  for (double i = first; i <= last; ++i) ticks.push_back(i * step + 0.0);
  return ticks;
}

std::vector<std::string> tick_texts(const std::vector<double>& ticks) {
  double largest = 0, step = 1;
  for (const double tick : ticks) largest = std::max(largest, std::abs(tick));
  if (ticks.size() > 1) step = ticks[1] - ticks[0];
  const auto decimals = [](double value) { return static_cast<int>(std::ceil(-std::log10(value) - 1e-9)); };
  const bool powers = largest > 0 && (largest < 1e-2 || largest >= 1e7);
  std::vector<std::string> texts;
  for (const double tick : ticks) {
    if (std::abs(tick) < step * 1e-6) {
      texts.emplace_back("0");
    } else if (powers) {
      // As many digits as the smallest of them needs beside the step.
      const int digits = std::clamp(static_cast<int>(std::floor(std::log10(largest) + 1e-9)) + decimals(step), 0, 6);
      texts.push_back(fmt::format("{:.{}e}", tick, digits));
    } else if (step >= 1 && tick == std::round(tick)) {
      texts.push_back(format_count(std::llround(tick)));
    } else {
      texts.push_back(fmt::format("{:.{}f}", tick, std::clamp(decimals(step), 0, 8)));
    }
  }
  return texts;
}

Curve smoothed(const Curve& curve, std::size_t reach) {
  auto result = curve;
  result.faint = false;
  const auto size = curve.points.size();
  // Sums and counts of all points before each.
  std::vector<double> sums(size + 1), counts(size + 1);
  for (std::size_t i = 0; i < size; ++i) {
    const double y = curve.points[i].second;
    sums[i + 1] = sums[i] + (std::isfinite(y) ? y : 0);
    counts[i + 1] = counts[i] + (std::isfinite(y) ? 1 : 0);
  }
  for (std::size_t i = 0; i < size; ++i) {
    const auto half = std::min({reach, i, size - 1 - i});
    const double count = counts[i + half + 1] - counts[i - half];
    if (count > 0) result.points[i].second = (sums[i + half + 1] - sums[i - half]) / count;
  }
  return result;
}

Curve thinned(Curve curve, std::size_t most) {
  const std::size_t stride = (curve.points.size() + most - 1) / most;
  if (stride <= 1) return curve;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < curve.points.size(); ++i) {
    if (i % stride == 0 || i + 1 == curve.points.size()) curve.points[kept++] = curve.points[i];
  }
  curve.points.resize(kept);
  return curve;
}

std::string to_svg(const Plot& plot) {
  Range x_range, y_range;
  for (const auto& curve : plot.curves) {
    for (const auto& [x, y] : curve.points) {
      x_range.add(x);
      y_range.add(y);
    }
  }
  if (plot.from_zero) y_range.add(0);
  Frame frame{make_axis(x_range, 9, true, plot.whole_x), make_axis(y_range, 6, false)};
  const double legend = legend_fits(plot) ? 0 : legend_lines(plot) * kLegendLine;
  frame.height += legend, frame.top += legend, frame.bottom += legend;
  if (!plot.note.empty()) frame.height += 14;
  auto svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" "
      "font-family=\"sans-serif\" "
      "font-size=\"12\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      kWidth, frame.height, kWidth, frame.height);
  svg += draw_axes(plot, frame);
  for (const auto& curve : plot.curves) svg += draw_curve(curve, frame);
  svg += draw_legend(plot);
  return svg + "</svg>\n";
}

std::string to_text(const Curve& curve, int width, int height) {
  static const char* const kEighths[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  Range x_range, y_range;
  for (const auto& [x, y] : curve.points) {
    if (std::isfinite(y)) x_range.add(x);
  }
  if (x_range.empty()) return "";
  std::vector<double> sums(static_cast<std::size_t>(width)), counts(static_cast<std::size_t>(width));
  for (const auto& [x, y] : curve.points) {
    if (!std::isfinite(y)) continue;
    const double share = x_range.high > x_range.low ? (x - x_range.low) / (x_range.high - x_range.low) : 0;
    const auto column = static_cast<std::size_t>(std::min(width - 1.0, share * width));
    sums[column] += y;
    ++counts[column];
  }
  std::vector<double> columns;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    // A column that no point falls into goes on as the one before it.
    if (counts[i] > 0)
      columns.push_back(sums[i] / counts[i]);
    else
      columns.push_back(columns.back());
    y_range.add(columns.back());
  }
  const double span = y_range.high > y_range.low ? y_range.high - y_range.low : 1;
  std::string text;
  for (int row = height - 1; row >= 0; --row) {
    std::string label(9, ' ');
    if (row == height - 1) label = fmt::format("{:9.4g}", y_range.high);
    if (row == 0) label = fmt::format("{:9.4g}", y_range.low);
    text += label + " ┤";
    for (const double value : columns) {
      // The lowest value still shows as one eighth.
      const int eighths = 1 + static_cast<int>(std::lround((value - y_range.low) / span * (height * 8 - 1)));
      text += kEighths[std::clamp(eighths - row * 8, 0, 8)];
    }
    text += "\n";
  }
  return text + fmt::format("{:9} └{}\n{:11}{:<{}}{}\n", "",
                            replace_all(std::string(static_cast<std::size_t>(width), '-'), "-", "─"), "",
                            fmt::format("{:g}", x_range.low),
                            width - static_cast<int>(fmt::format("{:g}", x_range.high).size()),
                            fmt::format("{:g}", x_range.high));
}

}  // namespace lorica::train
