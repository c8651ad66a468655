// The account of a run's inputs: what of them was left aside, for which reason, and how often. Whoever reads an input
// (rows, files, tensors, metadata, options) uses each part, refuses it by an error, or leaves it aside here; the
// program prints that once and keeps it in the run folder. Nothing is dropped in silence.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace lorica {

class Account {
 public:
  enum class Kind { row, file, tensor, metadata, option };

  /// One part that was left aside. Parts of one source, for one reason, differ by name.
  struct Entry {
    Kind kind = Kind::row;
    std::string source;      ///< where it stood: a file, a folder; "" for options
    std::string part;        ///< a column, a file's name, a tensor, a key of config.json, an option
    std::string reason;      ///< why, as the end of a sentence: "no template of this data set uses it"
    std::int64_t count = 1;  ///< rows, tensors, … that it was met in
    bool operator==(const Entry&) const = default;
  };

  /// Adds `count` to the entry of these four, making it where there is none.
  void leave_aside(Kind kind, std::string_view source, std::string_view part, std::string_view reason,
                   std::int64_t count = 1);
  void add(const Account& other);

  bool empty() const { return counts_.empty(); }
  /// By kind, source, reason and part.
  std::vector<Entry> entries() const;
  /// For people: one line for each kind, source and reason, with its parts ("a, b (12 rows) and 3 more").
  std::vector<std::string> lines() const;
  /// A list of {"kind", "source", "part", "reason", "count"}; and back. from_json throws Error for anything else.
  nlohmann::ordered_json to_json() const;
  static Account from_json(const nlohmann::ordered_json& json);

  bool operator==(const Account&) const = default;

 private:
  struct Key {
    Kind kind;
    std::string source, reason, part;
    auto operator<=>(const Key&) const = default;
  };
  std::map<Key, std::int64_t> counts_;
};

/// "row", "file", "tensor", "metadata", "option".
std::string_view kind_name(Account::Kind kind);

}  // namespace lorica
