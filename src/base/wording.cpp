#include "base/wording.hpp"

#include <fmt/format.h>

#include <cmath>

#include "base/strings.hpp"

namespace lorica {
namespace {

/// `value` with `digits` decimals and no sign if all of them are 0.
double without_negative_zero(double value, int digits) {
  const double scale = std::pow(10.0, digits);
  return std::round(value * scale) == 0 ? 0.0 : value;
}

std::string plural_of(std::string_view noun) {
  const auto ends_in = [&](std::string_view end) { return noun.ends_with(end); };
  if (ends_in("s") || ends_in("x") || ends_in("ch") || ends_in("sh")) return std::string(noun) + "es";
  const bool vowel_before = noun.size() > 1 && std::string_view("aeiou").find(noun[noun.size() - 2]) != noun.npos;
  if (ends_in("y") && !vowel_before) return std::string(noun.substr(0, noun.size() - 1)) + "ies";
  return std::string(noun) + "s";
}

}  // namespace

std::string noun_for(std::int64_t count, std::string_view noun) {
  return count == 1 || count == -1 ? std::string(noun) : plural_of(noun);
}

std::string counted(std::int64_t count, std::string_view noun) {
  return format_count(count) + " " + noun_for(count, noun);
}

std::string percent(double share, int digits) {
  if (!std::isfinite(share)) return "? %";
  return fmt::format("{:.{}f} %", without_negative_zero(share * 100, digits), digits);
}

std::string percent_change(double before, double now) {
  const double change = (now / before - 1) * 100;
  if (!std::isfinite(change)) return "?";
  const double shown = without_negative_zero(change, 2);
  return shown == 0 ? "0.00 %" : fmt::format("{:+.2f} %", shown);
}

}  // namespace lorica
