// JSON files of models and adapters (untrusted): one reader whose errors name the file, the line and the column, and
// typed access to keys whose errors name the file and the key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lorica::io {

/// Reads a whole JSON file. Throws FileError (can't be read) or ModelError "file:line:column: what" (malformed, or
/// nested deeper than 256 levels).
nlohmann::json read_json(const std::filesystem::path& path);

/// The same for text that is already in memory; `source` is what messages call it.
nlohmann::json parse_json(std::string_view text, const std::string& source);

/// Why a text is no JSON document that can be used (malformed, or a number that no double holds, like 1e999), and
/// where.
struct JsonFault {
  std::size_t offset = 0, line = 1, column = 1;  ///< bytes from 0; lines and columns from 1
  std::string reason;                            ///< printable
};
/// nullopt if the text is fine.
std::optional<JsonFault> find_json_fault(std::string_view text);

/// Pretty-prints (2 spaces, trailing newline, as Hugging Face's files are) and writes atomically (base/files.hpp).
void write_json(const std::filesystem::path& path, const nlohmann::ordered_json& value);
void write_json(const std::filesystem::path& path, const nlohmann::json& value);

/// Typed access to the keys of one object. A key that is absent or null gives nullopt; one of another type throws
/// ModelError naming the source, the key, what was found and what is needed.
class JsonFields {
 public:
  /// `object` and `source` must outlive this. Throws ModelError if it isn't a JSON object.
  JsonFields(const nlohmann::json& object, std::string source);
  bool has(const std::string& key) const;  ///< present and not null
  std::optional<std::int64_t> integer(const std::string& key) const;
  std::optional<double> number(const std::string& key) const;
  std::optional<bool> boolean(const std::string& key) const;
  std::optional<std::string> string(const std::string& key) const;
  std::optional<std::vector<std::string>> strings(const std::string& key) const;
  std::optional<std::vector<std::int64_t>> integers(const std::string& key) const;
  /// nullptr if absent or null.
  const nlohmann::json* object(const std::string& key) const;
  const std::string& source() const { return source_; }
  [[noreturn]] void reject(const std::string& key, std::string_view needed) const;

 private:
  const nlohmann::json* find(const std::string& key) const;
  const nlohmann::json& object_;
  std::string source_;
};

}  // namespace lorica::io
