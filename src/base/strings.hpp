// Small helpers on text: splitting, trimming, nearest-name suggestions, human-readable sizes and times.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lorica {

std::vector<std::string> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string_view trim(std::string_view text);
std::string to_lower(std::string_view text);
/// Replaces every `from` by `to`.
std::string replace_all(std::string text, std::string_view from, std::string_view to);

/// Damerau-Levenshtein distance (optimal string alignment), in bytes.
int edit_distance(std::string_view a, std::string_view b);
/// The nearest of `candidates` if it is near enough to be worth suggesting, else "".
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

/// "1.50 GiB", "12.0 MiB", "640 B".
std::string format_bytes(std::uint64_t bytes);
/// "1h02m", "3m05s", "12.3s".
std::string format_seconds(double seconds);
/// "1,234,567".
std::string format_count(std::int64_t count);

}  // namespace lorica
