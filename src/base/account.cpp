#include "base/account.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "base/wording.hpp"

namespace lorica {
namespace {

constexpr std::array<std::string_view, 5> kKinds{"row", "file", "tensor", "metadata", "option"};
constexpr std::size_t kNamedParts = 8;

/// "12 rows"; nothing where the parts themselves are what is counted.
std::string count_text(Account::Kind kind, std::int64_t count) {
  if (kind != Account::Kind::row) return "";
  return " (" + counted(count, "row") + ")";
}

std::string line_of(Account::Kind kind, const std::string& source, const std::string& reason,
                    const std::vector<std::string>& parts) {
  const std::size_t named = std::min(parts.size(), kNamedParts);
  auto text = join({parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(named)}, ", ");
  if (named < parts.size()) text += fmt::format(" and {} more", parts.size() - named);
  static constexpr std::array<std::string_view, 5> kNouns{"column", "file", "tensor", "key", "option"};
  const auto noun = noun_for(static_cast<std::int64_t>(parts.size()), kNouns[static_cast<std::size_t>(kind)]);
  return fmt::format("left aside{}: {} {}: {}", source.empty() ? "" : " in " + source, noun, text, reason);
}

}  // namespace

std::string_view kind_name(Account::Kind kind) {
  return kKinds[static_cast<std::size_t>(kind)];
}

void Account::leave_aside(Kind kind, std::string_view source, std::string_view part, std::string_view reason,
                          std::int64_t count) {
  counts_[{kind, std::string(source), std::string(reason), std::string(part)}] += count;
}

void Account::add(const Account& other) {
  for (const auto& [key, count] : other.counts_) counts_[key] += count;
}

std::vector<Account::Entry> Account::entries() const {
  std::vector<Entry> entries;
  for (const auto& [key, count] : counts_) entries.push_back({key.kind, key.source, key.part, key.reason, count});
  return entries;
}

std::vector<std::string> Account::lines() const {
  std::vector<std::string> lines, parts;
  for (auto at = counts_.begin(); at != counts_.end(); ++at) {
    const auto& key = at->first;
    parts.push_back(key.part + count_text(key.kind, at->second));
    const auto next = std::next(at);
    if (next != counts_.end() && next->first.kind == key.kind && next->first.source == key.source &&
        next->first.reason == key.reason) {
      continue;
    }
    lines.push_back(line_of(key.kind, key.source, key.reason, parts));
    parts.clear();
  }
  return lines;
}

nlohmann::ordered_json Account::to_json() const {
  auto list = nlohmann::ordered_json::array();
  for (const auto& entry : entries()) {
    list.push_back({{"kind", kind_name(entry.kind)},
                    {"source", entry.source},
                    {"part", entry.part},
                    {"reason", entry.reason},
                    {"count", entry.count}});
  }
  return list;
}

Account Account::from_json(const nlohmann::ordered_json& json) {
  Account account;
  try {
    for (const auto& entry : json) {
      const auto name = entry.at("kind").get<std::string>();
      const auto found = std::find(kKinds.begin(), kKinds.end(), name);
      if (found == kKinds.end()) raise<Error>("an account names an unknown kind, '{}'", name);
      account.leave_aside(static_cast<Kind>(found - kKinds.begin()), entry.at("source").get<std::string>(),
                          entry.at("part").get<std::string>(), entry.at("reason").get<std::string>(),
                          entry.at("count").get<std::int64_t>());
    }
  } catch (const nlohmann::json::exception& error) {
    raise<Error>("this isn't an account: {}", error.what());
  }
  return account;
}

}  // namespace lorica
