#include "data/text_file.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/strings.hpp"
#include "tokenizer/unicode.hpp"

namespace lorica::data {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// The encoding that a text which isn't UTF-8 probably has, as iconv calls it.
std::string_view likely_encoding(std::string_view text) {
  if (text.starts_with("\xFF\xFE")) return "UTF-16LE";
  if (text.starts_with("\xFE\xFF")) return "UTF-16BE";
  // The characters that Windows-1252 has and Latin-1 hasn't (quotes, dashes, the euro sign) are its usual difference;
  // it reads everything else the same way.
  return "WINDOWS-1252";
}

}  // namespace

TextPlace place_of(std::string_view text, std::size_t offset) {
  const auto before = text.substr(0, offset);
  TextPlace place;
  place.line += std::count(before.begin(), before.end(), '\n');
  auto line = before.substr(before.rfind('\n') + 1);
  if (place.line == 1 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
  place.column += std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
  return place;
}

std::string utf8_fault(std::string_view text, std::string_view name, std::size_t start) {
  const auto valid = tokenizer::valid_utf8_prefix(text);
  if (valid == text.size()) return "";
  const auto encoding = likely_encoding(text);
  return fmt::format(
      "byte {} (0x{:02X}) isn't UTF-8; the text looks like {}. Convert it (iconv -f {} -t UTF-8 '{}' > converted)",
      start + valid, static_cast<unsigned char>(text[valid]), encoding, encoding, name);
}

std::string clean_text(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text.find('\r') == std::string_view::npos ? std::string(text) : replace_all(std::string(text), "\r\n", "\n");
}

std::string read_text(const std::filesystem::path& path) {
  const auto text = read_file(path);
  if (const auto fault = utf8_fault(text, path.string()); !fault.empty()) {
    const auto place = place_of(text, tokenizer::valid_utf8_prefix(text));
    raise<DataError>("{}:{}:{}: {}", path.string(), place.line, place.column, fault);
  }
  return clean_text(text);
}

}  // namespace lorica::data
