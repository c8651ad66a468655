#include "train/metrics/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/strings.hpp"

namespace lorica::train {
namespace {

constexpr double kWidth = 860, kHeight = 420;
constexpr double kLeft = 84, kRight = 24, kTop = 48, kBottom = 56;
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
  double low = 0, high = 1, step = 1;
  double share(double value) const { return (value - low) / (high - low); }
};

Axis make_axis(Range range, int count, bool tight) {
  if (range.empty()) range = {0, 1};
  range.widen();
  Axis axis;
  axis.ticks = nice_ticks(range.low, range.high, count);
  axis.step = axis.ticks.size() > 1 ? axis.ticks[1] - axis.ticks[0] : 1;
  axis.low = tight ? range.low : std::min(range.low, axis.ticks.front());
  axis.high = tight ? range.high : std::max(range.high, axis.ticks.back());
  if (tight) {
    std::erase_if(axis.ticks, [&](double tick) {
      return tick < axis.low - axis.step * 1e-9 || tick > axis.high + axis.step * 1e-9;
    });
  }
  return axis;
}

std::string escape(std::string text) {
  text = replace_all(std::move(text), "&", "&amp;");
  text = replace_all(std::move(text), "<", "&lt;");
  text = replace_all(std::move(text), ">", "&gt;");
  return replace_all(std::move(text), "\"", "&quot;");
}

double x_of(const Axis& axis, double value) {
  return kLeft + axis.share(value) * (kWidth - kLeft - kRight);
}
double y_of(const Axis& axis, double value) {
  return kHeight - kBottom - axis.share(value) * (kHeight - kTop - kBottom);
}

std::string draw_axes(const Plot& plot, const Axis& x, const Axis& y) {
  std::string svg;
  for (const double tick : y.ticks) {
    const double at = y_of(y, tick);
    svg += fmt::format("<line x1=\"{}\" y1=\"{:.1f}\" x2=\"{}\" y2=\"{:.1f}\" stroke=\"#e4e4e4\"/>\n", kLeft, at,
                       kWidth - kRight, at);
    svg += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", kLeft - 8, at + 4,
                       tick_text(tick, y.step));
  }
  for (const double tick : x.ticks) {
    const double at = x_of(x, tick);
    svg += fmt::format("<line x1=\"{:.1f}\" y1=\"{}\" x2=\"{:.1f}\" y2=\"{}\" stroke=\"#333\"/>\n", at,
                       kHeight - kBottom, at, kHeight - kBottom + 5);
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", at, kHeight - kBottom + 20,
                       tick_text(tick, x.step));
  }
  svg += fmt::format("<path d=\"M{} {}V{}H{}\" fill=\"none\" stroke=\"#333\"/>\n", kLeft, kTop, kHeight - kBottom,
                     kWidth - kRight);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", (kLeft + kWidth - kRight) / 2,
                     kHeight - 14, escape(plot.x_label));
  const double middle = (kTop + kHeight - kBottom) / 2;
  svg += fmt::format("<text x=\"18\" y=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {})\">{}</text>\n",
                     middle, middle, escape(plot.y_label));
  svg += fmt::format("<text x=\"{}\" y=\"26\" font-size=\"16\" font-weight=\"bold\">{}</text>\n", kLeft,
                     escape(plot.title));
  return svg;
}

std::string draw_curve(const Curve& curve, const Axis& x, const Axis& y, const char* color) {
  std::string path, dots;
  bool pen_down = false;
  for (const auto& [px, py] : curve.points) {
    if (!std::isfinite(px) || !std::isfinite(py)) {
      pen_down = false;
      continue;
    }
    path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", x_of(x, px), y_of(y, py));
    pen_down = true;
    if (curve.markers || curve.points.size() == 1) {
      dots +=
          fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", x_of(x, px), y_of(y, py), color);
    }
  }
  if (path.empty()) return "";
  return fmt::format(
             "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-opacity=\"{}\" "
             "stroke-linejoin=\"round\"/>\n",
             path, color, curve.faint ? 1 : 2, curve.faint ? 0.35 : 1) +
         dots;
}

std::string draw_legend(const Plot& plot) {
  std::string svg;
  double at = kWidth - kRight;
  for (std::size_t i = plot.curves.size(); i-- > 0;) {
    const auto& curve = plot.curves[i];
    at -= 44 + 7.2 * static_cast<double>(curve.name.size());
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"22\" x2=\"{:.1f}\" y2=\"22\" stroke=\"{}\" stroke-width=\"{}\" "
        "stroke-opacity=\"{}\"/>\n"
        "<text x=\"{:.1f}\" y=\"26\">{}</text>\n",
        at, at + 22, kColors[i % std::size(kColors)], curve.faint ? 1.5 : 2.5, curve.faint ? 0.45 : 1, at + 28,
        escape(curve.name));
  }
  return svg;
}

}  // namespace

std::vector<double> nice_ticks(double low, double high, int count) {
  const double rough = (high - low) / std::max(1, count - 1);
  if (!(rough > 0) || !std::isfinite(rough)) return {low};
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
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

std::string tick_text(double value, double step) {
  if (std::abs(value) < step * 1e-6) return "0";
  const double largest = std::abs(value);
  if (largest < 1e-3 || largest >= 1e7) {
    // As many digits as tell this tick from the next.
    const double digits = std::floor(std::log10(largest) + 1e-9) - std::floor(std::log10(step) + 1e-9);
    return fmt::format("{:.{}e}", value, std::clamp(static_cast<int>(digits), 0, 6));
  }
  if (step >= 1 && value == std::round(value)) return format_count(std::llround(value));
  const int digits = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 8);
  return fmt::format("{:.{}f}", value, digits);
}

Curve smoothed(const Curve& curve, double smoothing) {
  Curve result{curve.name, {}, false, false};
  double average = 0, weight = 0;
  for (const auto& [x, y] : curve.points) {
    if (std::isfinite(y)) {
      average = smoothing * average + (1 - smoothing) * y;
      weight = smoothing * weight + (1 - smoothing);
    }
    result.points.emplace_back(x, weight > 0 ? average / weight : y);
  }
  return result;
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
  const auto x = make_axis(x_range, 9, true), y = make_axis(y_range, 6, false);
  auto svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" "
      "font-family=\"sans-serif\" "
      "font-size=\"12\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      kWidth, kHeight, kWidth, kHeight);
  svg += draw_axes(plot, x, y);
  for (std::size_t i = 0; i < plot.curves.size(); ++i)
    svg += draw_curve(plot.curves[i], x, y, kColors[i % std::size(kColors)]);
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
