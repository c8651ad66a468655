// The byte-level alphabet of GPT-2: each byte is written as one printable character, so that any bytes make a readable
// token. Source: encoder.py of openai/gpt-2 (bytes_to_unicode).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lorica::tokenizer {

/// The character (UTF-8) that stands for a byte.
const std::string& byte_character(unsigned char byte);
/// Appends `bytes` written in the alphabet.
void append_byte_level(std::string& out, std::string_view bytes);
/// The bytes that `token` stands for; nullopt if it holds a character that is not of the alphabet.
std::optional<std::string> bytes_of_byte_level(std::string_view token);

}  // namespace lorica::tokenizer
