// Runs beside each other: `lorica report A B`.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/files.hpp"
#include "base/strings.hpp"
#include "train/checkpoints.hpp"
#include "train/metrics/status_line.hpp"
#include "train/report.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

/// Table cells, the first row and the first column being names.
using Table = std::vector<std::vector<std::string>>;

std::string aligned(const Table& table) {
  std::vector<std::size_t> widths;
  for (const auto& row : table) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], static_cast<std::size_t>(display_width(row[i])));
  }
  std::string text;
  for (const auto& row : table) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - static_cast<std::size_t>(display_width(row[i])) + 2, ' ');
    }
    text += line + "\n";
  }
  return text;
}

/// As short as tells them apart: the folders' names, or the paths as they were given.
std::vector<std::string> names_of(const std::vector<fs::path>& folders) {
  std::vector<std::string> names;
  for (const auto& folder : folders) {
    const auto path = folder.lexically_normal();
    names.push_back((path.has_filename() ? path.filename() : path.parent_path().filename()).string());
  }
  if (std::set<std::string>(names.begin(), names.end()).size() < names.size()) {
    for (std::size_t i = 0; i < names.size(); ++i) names[i] = folders[i].string();
  }
  return names;
}

/// config.toml as option and value; empty if there is none.
std::map<std::string, std::string> options_of(const fs::path& folder) {
  std::map<std::string, std::string> options;
  const auto file = folder / kConfigFile;
  if (!fs::exists(file)) return options;
  for (const auto& line : split(read_file(file), '\n')) {
    const auto equals = line.find('=');
    if (line.starts_with('#') || equals == std::string::npos) continue;
    options[std::string(trim(line.substr(0, equals)))] = std::string(trim(line.substr(equals + 1)));
  }
  return options;
}

/// Rows of all runs; one that a run hasn't is "-".
void add_rows(const std::vector<Rows>& all, Table& table) {
  std::vector<std::string> order;
  for (const auto& rows : all) {
    for (const auto& [name, value] : rows) {
      if (std::find(order.begin(), order.end(), name) == order.end()) order.push_back(name);
    }
  }
  for (const auto& name : order) {
    table.push_back({name});
    for (const auto& rows : all) {
      const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.first == name; });
      table.back().push_back(found == rows.end() ? "-" : found->second);
    }
  }
}

/// The options that aren't the same in all runs. Where a run writes to is no difference.
std::string differing_options(const std::vector<fs::path>& folders, const std::vector<std::string>& names) {
  std::vector<std::map<std::string, std::string>> all;
  std::set<std::string> options;
  for (const auto& folder : folders) {
    all.push_back(options_of(folder));
    for (const auto& [name, value] : all.back()) options.insert(name);
    if (all.back().empty())
      return fmt::format("{}: holds no {}; options aren't compared\n", folder.string(), kConfigFile);
  }
  for (const char* name : {"output_dir", "resume", "overwrite_output_dir"}) options.erase(name);
  Table table{{"option"}};
  table.front().insert(table.front().end(), names.begin(), names.end());
  for (const auto& option : options) {
    std::vector<std::string> row{option};
    std::set<std::string> values;
    for (const auto& run : all) {
      const auto found = run.find(option);
      row.push_back(found == run.end() ? "-" : found->second);
      values.insert(row.back());
    }
    if (values.size() > 1) table.push_back(std::move(row));
  }
  if (table.size() == 1) return "no option differs\n";
  return "options that differ\n" + aligned(table);
}

}  // namespace

std::string compare(const std::vector<fs::path>& folders, const fs::path& output_folder) {
  const auto names = names_of(folders);
  Plot plot;
  plot.title = "Loss";
  plot.x_label = "step";
  plot.y_label = "loss per supervised token";
  plot.whole_x = true;
  std::vector<Rows> all;
  std::size_t longest = 0;
  for (std::size_t i = 0; i < folders.size(); ++i) {
    const auto records = load_run(folders[i]);
    all.push_back(summary_rows(records));
    if (!records.broken.empty()) {
      all.back().emplace_back("lines passed over", format_count(static_cast<std::int64_t>(records.broken.size())));
    }
    longest = std::max(longest, records.steps.size());
    for (auto& curve : loss_curves(records, names[i], static_cast<int>(i))) {
      if (curve.faint) curve.name.clear();  // its average says whose it is
      plot.curves.push_back(std::move(curve));
    }
  }
  if (!average_note(longest).empty()) {
    plot.note = "smoothed: mean of a tenth of a run's records around each step (5 to 101, fewer near the ends)";
  }
  const auto file = output_folder / "comparison" / "loss.svg";
  create_folder(file.parent_path());
  write_file(file, to_svg(plot));

  Table table{{"run"}};
  table.front().insert(table.front().end(), names.begin(), names.end());
  add_rows(all, table);
  return aligned(table) + "\n" + differing_options(folders, names) + "\n" + file.string() + "\n";
}

}  // namespace lorica::train
