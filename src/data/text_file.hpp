// Plain text from files: UTF-8 or a fault that says what to do, without the byte order mark, with "\n" as the line end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace lorica::data {

/// "" if `text`, which begins at byte `start` of the file `name`, is UTF-8; else what is wrong, from "byte 7 (0xE9) …"
/// on, with the likely encoding and how to convert the file.
std::string utf8_fault(std::string_view text, std::string_view name, std::size_t start = 0);

/// Without a byte order mark at the start, and with "\n" for each "\r\n".
std::string clean_text(std::string_view text);

/// A whole file as clean_text(). Throws FileError; DataError "file:line:column: byte …" if it isn't UTF-8.
std::string read_text(const std::filesystem::path& path);

/// A place in a text, from 1; columns count characters.
struct TextPlace {
  std::int64_t line = 1, column = 1;
};
TextPlace place_of(std::string_view text, std::size_t offset);

}  // namespace lorica::data
