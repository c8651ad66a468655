// The generated tables of unicode_tables.cpp; use them through unicode.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lorica::tokenizer {

/// From `start` up to the next run, every code point has these flags (see unicode.hpp for the bits).
struct UnicodeRun {
  std::uint32_t start;
  std::uint16_t flags;
};
extern const UnicodeRun kUnicodeRuns[];
extern const std::size_t kUnicodeRunCount;

/// Lower case where utf8proc (an older Unicode, one code point to one) gives something else; 0 ends a short one.
struct LowercaseOverride {
  std::uint32_t code_point;
  std::uint32_t lower[2];
};
extern const LowercaseOverride kLowercaseOverrides[];
extern const std::size_t kLowercaseOverrideCount;

}  // namespace lorica::tokenizer
