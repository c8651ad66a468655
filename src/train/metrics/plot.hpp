// Line plots as self-contained SVG files, and as a few lines of text for a terminal. No styles or fonts from elsewhere:
// the file opens in any browser.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lorica::train {

/// One curve. Points that aren't finite break the line.
struct Curve {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< (x, y), x ascending
  bool faint = false;                             ///< drawn thin and pale: raw values behind their average
  bool markers = false;                           ///< with a dot at each point (few points: evaluations)
};

struct Plot {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
  bool from_zero = false;  ///< the y axis begins at 0
};

/// Round numbers from at or below `low` to at or above `high`, about `count` of them, in steps of 1, 2 or 5 times a
/// power of ten.
std::vector<double> nice_ticks(double low, double high, int count);

/// A tick's text: "0.25", "1,500", "2e-05"; as many digits as `step` between ticks needs.
std::string tick_text(double value, double step);

/// The exponential moving average of y with its start-up bias corrected: weight of old values `smoothing` (0…1).
Curve smoothed(const Curve& curve, double smoothing);

std::string to_svg(const Plot& plot);

/// A curve in `width` columns and `height` rows of Unicode eighth blocks, with its lowest and highest value at the
/// left. Columns are means of the points that fall into them.
std::string to_text(const Curve& curve, int width, int height);

}  // namespace lorica::train
