// Made-up recordings.
#pragma once

#include <string>
#include <utility>

#include "engine/recorder.hpp"

namespace lorica::train {

/// Adds a span and returns its index. Times in microseconds.
inline int add_span(engine::Recording& recording, std::string name, int parent, std::int64_t start, std::int64_t end,
                    bool scope = true) {
  engine::Span span;
  span.name = std::move(name);
  span.start_ns = start * 1000;
  span.end_ns = end * 1000;
  span.parent = parent;
  span.scope = scope;
  recording.spans.push_back(std::move(span));
  return static_cast<int>(recording.spans.size()) - 1;
}

inline void add_memory(engine::Recording& recording, std::int64_t time, std::uint64_t address, std::int64_t bytes,
                       int span) {
  recording.memory.push_back({time * 1000, address, bytes, span});
}

}  // namespace lorica::train
