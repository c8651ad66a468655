// What the memory of tensors is used for, over the time of a recording. What was there before is divided as the engine
// counts it. What came later is divided by the scope that it was made in and by whether it outlived that scope.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/recorder.hpp"

namespace lorica::train {

enum class Purpose {
  weights,      ///< frozen
  trained,      ///< adapters, or the whole model
  optimizer,    ///< state
  gathered,     ///< parameters of other processes, and gradients on their way
  gradients,    ///< made by a block's backward pass, outliving it
  activations,  ///< made by a block's forward pass, outliving it
  recomputed,   ///< made by a recomputation, outliving it
  temporary,    ///< given back in the scope that took it
  other,
};
inline constexpr std::size_t kPurposes = static_cast<std::size_t>(Purpose::other) + 1;
const char* purpose_name(Purpose purpose);

struct MemoryTimeline {
  struct Point {
    std::int64_t time_ns = 0;  ///< since the start of the recording
    std::array<std::int64_t, kPurposes> bytes{};
    std::int64_t total() const;
  };
  std::vector<Point> points;  ///< by time; the first one at 0
  std::size_t peak = 0;       ///< the point with the largest total
  std::string peak_scope;     ///< the scopes around it, outermost first: "step 3 > layer 1: forward"
};

MemoryTimeline memory_timeline(const engine::Recording& recording, const engine::HeldMemory& held);

/// {"purposes": [...], "peak": {...}, "points": [[microseconds, bytes of each purpose...], ...]}
std::string to_json(const MemoryTimeline& timeline, const std::string& title);

/// A page that needs nothing else: the plot, and what the peak consists of.
std::string to_html(const MemoryTimeline& timeline, const std::string& title);

/// Every event: {"events": [{"us": ..., "address": "0x...", "bytes": ±..., "purpose": ..., "scope": ...}, ...]}
std::string memory_events_json(const engine::Recording& recording, const engine::HeldMemory& held,
                               const std::string& title);

}  // namespace lorica::train
