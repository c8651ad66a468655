#include "train/profile/key_averages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/strings.hpp"

namespace lorica::train {
namespace {

constexpr std::size_t kShown = 25;

struct Entry {
  std::string name, shapes;
  std::int64_t calls = 0, self_ns = 0, total_ns = 0;
};

/// Spans of another thread inside a span (those that autograd runs for it) took none of its own time.
std::vector<std::int64_t> self_times(const std::vector<engine::Span>& spans) {
  std::vector<std::int64_t> self;
  for (const auto& span : spans) {
    self.push_back(span.duration());
    if (span.parent < 0) continue;
    const auto parent = static_cast<std::size_t>(span.parent);
    if (spans[parent].thread == span.thread) self[parent] -= span.duration();
  }
  return self;
}

/// A name inside itself counts once in its total.
bool is_inside_itself(const std::vector<engine::Span>& spans, const engine::Span& span) {
  for (int at = span.parent; at >= 0; at = spans[static_cast<std::size_t>(at)].parent) {
    if (spans[static_cast<std::size_t>(at)].name == span.name) return true;
  }
  return false;
}

std::vector<Entry> entries_of(const engine::Recording& recording, bool on_device) {
  const auto& spans = recording.spans;
  const auto self = self_times(spans);
  std::map<std::pair<std::string, std::string>, Entry> found;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    if (spans[i].on_device != on_device) continue;
    auto& entry = found[{spans[i].name, spans[i].shapes}];
    entry.name = spans[i].name;
    entry.shapes = spans[i].shapes;
    ++entry.calls;
    entry.self_ns += self[i];
    if (!is_inside_itself(spans, spans[i])) entry.total_ns += spans[i].duration();
  }
  std::vector<Entry> entries;
  for (auto& [key, entry] : found) entries.push_back(std::move(entry));
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.self_ns > b.self_ns; });
  return entries;
}

double milliseconds(std::int64_t nanoseconds) {
  return static_cast<double>(nanoseconds) / 1e6;
}

std::string table(const std::vector<Entry>& entries, const char* where) {
  std::int64_t all = 0, rest = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    all += entries[i].self_ns;
    if (i >= kShown) rest += entries[i].self_ns;
  }
  const auto share = [&](std::int64_t part) {
    return all == 0 ? 0.0 : 100 * static_cast<double>(part) / static_cast<double>(all);
  };
  auto text = fmt::format(
      "On the {}: the {} of {} entries with the largest self time\n\n{:>12} {:>7} {:>12} {:>9} {:>12}  name\n", where,
      std::min(kShown, entries.size()), entries.size(), "self ms", "self %", "total ms", "calls", "us a call");
  for (std::size_t i = 0; i < std::min(kShown, entries.size()); ++i) {
    const auto& entry = entries[i];
    text += fmt::format("{:>12.3f} {:>7.2f} {:>12.3f} {:>9} {:>12.1f}  {}{}\n", milliseconds(entry.self_ns),
                        share(entry.self_ns), milliseconds(entry.total_ns), entry.calls,
                        milliseconds(entry.total_ns) * 1e3 / static_cast<double>(entry.calls), entry.name,
                        entry.shapes.empty() ? "" : "  " + entry.shapes);
  }
  text += fmt::format("{:>12.3f} {:>7.2f} {:>12} {:>9} {:>12}  (all others)\n", milliseconds(rest), share(rest), "", "",
                      "");
  text += fmt::format("{:>12.3f} {:>7.2f} {:>12} {:>9} {:>12}  (sum)\n", milliseconds(all), share(all), "", "", "");
  return text;
}

}  // namespace

std::string key_averages(const engine::Recording& recording, const std::string& title) {
  auto text = title + "\n\n";
  if (const auto device = entries_of(recording, true); !device.empty()) text += table(device, "device") + "\n";
  return text + table(entries_of(recording, false), "CPU");
}

std::string folded_stacks(const engine::Recording& recording) {
  const auto& spans = recording.spans;
  const auto self = self_times(spans);
  std::vector<std::string> stacks;
  std::map<std::string, std::int64_t> sums;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const auto frame = replace_all(spans[i].name, ";", ",");
    const auto parent = spans[i].parent;
    stacks.push_back(parent < 0 ? frame : stacks[static_cast<std::size_t>(parent)] + ";" + frame);
    if (!spans[i].on_device) sums[stacks.back()] += self[i];
  }
  std::string text;
  for (const auto& [stack, nanoseconds] : sums) {
    text += fmt::format("{} {}\n", stack, std::max<std::int64_t>(1, nanoseconds / 1000));
  }
  return text;
}

}  // namespace lorica::train
