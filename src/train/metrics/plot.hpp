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
  int color = 0;                                  ///< of the palette: curves that belong together share one
  bool dashed = false;
};

struct Plot {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
  bool from_zero = false;  ///< the y axis begins at 0
  bool whole_x = false;    ///< x counts something: ticks at whole numbers only
  std::string note = {};   ///< a line of small print below: how curves were smoothed
};

/// Round numbers from at or below `low` to at or above `high`, about `count` of them, in steps of 1, 2 or 5 times a
/// power of ten, not smaller than `smallest_step`.
std::vector<double> nice_ticks(double low, double high, int count, double smallest_step = 0);

/// The ticks' texts, all in one notation ("0.25"; "1,500"; "2.0e-05"), with the digits that tell one from the next.
std::vector<std::string> tick_texts(const std::vector<double>& ticks);

/// Each y as the mean of the points around it: `reach` before it and as many after it, fewer of both near an end, so
/// that the curve doesn't lag behind. Drawn in the curve's colour; what isn't finite is left out of the means.
Curve smoothed(const Curve& curve, std::size_t reach);

/// At most `most` of the points, evenly chosen, the last one among them.
Curve thinned(Curve curve, std::size_t most);

std::string to_svg(const Plot& plot);

/// A curve in `width` columns and `height` rows of Unicode eighth blocks, with its lowest and highest value at the
/// left. Columns are means of the points that fall into them.
std::string to_text(const Curve& curve, int width, int height);

}  // namespace lorica::train
