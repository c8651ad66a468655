#include "train/profile/memory_timeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "engine/scope.hpp"

namespace lorica::train {
namespace {

namespace scopes = engine::scopes;
using Bytes = std::array<std::int64_t, kPurposes>;
constexpr auto kForever = std::numeric_limits<std::int64_t>::max();

std::int64_t& at(Bytes& bytes, Purpose purpose) {
  return bytes[static_cast<std::size_t>(purpose)];
}

/// What is made in a scope of this name and outlives it; none: the name says nothing.
std::optional<Purpose> purpose_of_scope(std::string_view name) {
  if (name.ends_with(scopes::kForward)) return Purpose::activations;
  if (name.ends_with(scopes::kRecompute)) return Purpose::recomputed;
  if (name.ends_with(scopes::kBackward) || name == scopes::kHead) return Purpose::gradients;
  if (name == scopes::kOptimizer) return Purpose::optimizer;
  for (const auto gathered : {scopes::kGather, scopes::kAwaitGather, scopes::kReduce, scopes::kAwaitReduce}) {
    if (name == gathered) return Purpose::gathered;
  }
  return std::nullopt;
}

/// By span: the innermost one around it, itself included, whose name says what its memory is for; -1: none.
std::vector<int> telling_scopes(const std::vector<engine::Span>& spans) {
  std::vector<int> telling;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const auto& span = spans[i];
    const int outer = span.parent < 0 ? -1 : telling[static_cast<std::size_t>(span.parent)];
    telling.push_back(span.scope && purpose_of_scope(span.name) ? static_cast<int>(i) : outer);
  }
  return telling;
}

/// By event: what its memory is for. Memory from before the recording that is given back: other.
std::vector<Purpose> purposes_of(const engine::Recording& recording) {
  const auto& events = recording.memory;
  const auto telling = telling_scopes(recording.spans);
  std::vector<std::size_t> taken_by(events.size());  // of an event that gives back: the one that took
  std::vector<std::int64_t> freed_ns(events.size(), kForever);
  std::map<std::uint64_t, std::size_t> live;
  for (std::size_t i = 0; i < events.size(); ++i) {
    taken_by[i] = i;
    if (events[i].bytes > 0) {
      live[events[i].address] = i;
    } else if (auto taken = live.extract(events[i].address); !taken.empty()) {
      taken_by[i] = taken.mapped();
      freed_ns[taken.mapped()] = events[i].time_ns;
    }
  }
  std::vector<Purpose> purposes(events.size(), Purpose::other);
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (taken_by[i] != i) {
      purposes[i] = purposes[taken_by[i]];
      continue;
    }
    if (events[i].bytes <= 0 || events[i].span < 0) continue;
    const int scope = telling[static_cast<std::size_t>(events[i].span)];
    if (scope < 0) continue;
    const auto& span = recording.spans[static_cast<std::size_t>(scope)];
    const bool gathers = purpose_of_scope(span.name) == Purpose::gathered;
    purposes[i] = freed_ns[i] <= span.end_ns && !gathers ? Purpose::temporary : *purpose_of_scope(span.name);
  }
  return purposes;
}

/// The scopes around a span, outermost first, and itself. Operations between are left out: autograd's have long names.
std::string path_of(const std::vector<engine::Span>& spans, int span) {
  std::string text;
  for (; span >= 0; span = spans[static_cast<std::size_t>(span)].parent) {
    const auto& one = spans[static_cast<std::size_t>(span)];
    if (!one.scope && !text.empty()) continue;
    text = text.empty() ? one.name : one.name + " > " + text;
  }
  return text;
}

double microseconds(std::int64_t nanoseconds) {
  return static_cast<double>(nanoseconds) / 1e3;
}

}  // namespace

const char* purpose_name(Purpose purpose) {
  static constexpr const char* kNames[] = {"weights",     "trained weights", "optimizer state",
                                           "in exchange", "gradients",       "activations kept",
                                           "recomputed",  "temporary",       "other"};
  static_assert(std::size(kNames) == kPurposes);
  return kNames[static_cast<std::size_t>(purpose)];
}

std::int64_t MemoryTimeline::Point::total() const {
  return std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
}

MemoryTimeline memory_timeline(const engine::Recording& recording, const engine::HeldMemory& held) {
  const auto purposes = purposes_of(recording);
  MemoryTimeline timeline;
  MemoryTimeline::Point now;
  at(now.bytes, Purpose::weights) = static_cast<std::int64_t>(held.weights);
  at(now.bytes, Purpose::trained) = static_cast<std::int64_t>(held.trained);
  at(now.bytes, Purpose::optimizer) = static_cast<std::int64_t>(held.optimizer);
  at(now.bytes, Purpose::gradients) = static_cast<std::int64_t>(held.gradients);
  at(now.bytes, Purpose::other) = static_cast<std::int64_t>(held.others);
  timeline.points.push_back(now);
  std::int64_t least = 0;
  for (std::size_t i = 0; i < recording.memory.size(); ++i) {
    const auto& event = recording.memory[i];
    now.time_ns = std::max<std::int64_t>(0, event.time_ns - recording.start_ns);
    at(now.bytes, purposes[i]) += event.bytes;
    least = std::min(least, at(now.bytes, Purpose::other));
    timeline.points.push_back(now);
  }
  // What was given back without having been counted must have been there.
  for (auto& point : timeline.points) at(point.bytes, Purpose::other) -= least;
  for (std::size_t i = 0; i < timeline.points.size(); ++i) {
    if (timeline.points[i].total() > timeline.points[timeline.peak].total()) timeline.peak = i;
  }
  if (timeline.peak > 0) timeline.peak_scope = path_of(recording.spans, recording.memory[timeline.peak - 1].span);
  return timeline;
}

std::string to_json(const MemoryTimeline& timeline, const std::string& title) {
  nlohmann::ordered_json document{{"title", title}, {"unit", "bytes"}};
  for (std::size_t i = 0; i < kPurposes; ++i) document["purposes"].push_back(purpose_name(static_cast<Purpose>(i)));
  const auto& peak = timeline.points[timeline.peak];
  nlohmann::ordered_json parts;
  for (std::size_t i = 0; i < kPurposes; ++i) parts[purpose_name(static_cast<Purpose>(i))] = peak.bytes[i];
  document["peak"] = {{"us", microseconds(peak.time_ns)},
                      {"bytes", peak.total()},
                      {"scope", timeline.peak_scope},
                      {"parts", std::move(parts)}};
  auto& points = document["points"] = nlohmann::ordered_json::array();
  for (const auto& point : timeline.points) {
    nlohmann::ordered_json row{microseconds(point.time_ns)};
    for (const auto bytes : point.bytes) row.push_back(bytes);
    points.push_back(std::move(row));
  }
  return document.dump() + "\n";
}

std::string memory_events_json(const engine::Recording& recording, const engine::HeldMemory& held,
                               const std::string& title) {
  const auto purposes = purposes_of(recording);
  nlohmann::ordered_json document{{"title", title},
                                  {"held_before",
                                   {{purpose_name(Purpose::weights), held.weights},
                                    {purpose_name(Purpose::trained), held.trained},
                                    {purpose_name(Purpose::optimizer), held.optimizer},
                                    {purpose_name(Purpose::gradients), held.gradients},
                                    {purpose_name(Purpose::other), held.others}}}};
  auto& events = document["events"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < recording.memory.size(); ++i) {
    const auto& event = recording.memory[i];
    events.push_back({{"us", microseconds(event.time_ns - recording.start_ns)},
                      {"address", fmt::format("{:#x}", event.address)},
                      {"bytes", event.bytes},
                      {"purpose", purpose_name(purposes[i])},
                      {"scope", path_of(recording.spans, event.span)}});
  }
  return document.dump() + "\n";
}

}  // namespace lorica::train
