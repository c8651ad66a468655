// See decoders.hpp. Each apply() says what one decoder of the Rust library does to the list of tokens.
#include "tokenizer/decoders.hpp"

#include "base/error.hpp"
#include "base/strings.hpp"
#include "tokenizer/byte_level.hpp"
#include "tokenizer/normalizers.hpp"
#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {
namespace {

using Tokens = std::vector<std::string>;

void apply(const ByteLevelDecoder&, Tokens& tokens) {
  std::string bytes, storage;
  for (const std::string& token : tokens) bytes += bytes_of_byte_level(token).value_or(token);
  tokens = {std::string(sanitize(bytes, storage))};
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/// The byte of "<0xNN>", or -1.
int fallback_byte(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  // "+N" counts as a number in Rust.
  const int high = token[3] == '+' ? 0 : hex_value(token[3]), low = hex_value(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void apply(const ByteFallbackDecoder&, Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (valid_utf8_prefix(bytes) == bytes.size()) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), std::string(kReplacementCharacter));
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    const int byte = fallback_byte(token);
    if (byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  tokens = std::move(out);
}

void apply(const FuseDecoder&, Tokens& tokens) {
  tokens = {join(tokens, "")};
}

void apply(const MetaspaceDecoder& d, Tokens& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = replace_all(std::move(tokens[i]), d.replacement, i == 0 && d.drop_first ? "" : " ");
  }
}

void apply(const StripDecoder& d, Tokens& tokens) {
  for (std::string& token : tokens) {
    std::string_view left = token;
    for (std::size_t i = 0; i < d.start && left.starts_with(d.content); ++i) left.remove_prefix(d.content.size());
    for (std::size_t i = 0; i < d.stop && left.ends_with(d.content); ++i) left.remove_suffix(d.content.size());
    token = std::string(left);
  }
}

void apply(const ReplaceDecoder& d, Tokens& tokens) {
  std::vector<Span> matches;
  for (std::string& token : tokens) {
    matches.clear();
    if (!token.empty()) d.pattern.find_all(token, matches);
    if (matches.empty()) continue;
    std::string out;
    std::size_t done = 0;
    for (const Span& match : matches) {
      out.append(token, done, match.begin - done).append(d.content);
      done = match.end;
    }
    token = out.append(token, done);
  }
}

void apply(const BpeDecoder& d, Tokens& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = replace_all(std::move(tokens[i]), d.suffix, i + 1 == tokens.size() ? "" : " ");
  }
}

std::string one_character(const JsonView& json) {
  const std::string& text = json.text();
  if (text.empty() || utf8_length(static_cast<unsigned char>(text[0])) != text.size()) json.wrong("one character");
  return text;
}

}  // namespace

void Decoders::add(const JsonView& json, int depth) {
  if (json.is_null()) return;
  if (depth > kMaxSequenceDepth) raise<DataError>("{}: sequences are nested too deep", json.where());
  const std::string& type = json["type"].text();
  if (type == "Sequence") {
    const JsonView parts = json["decoders"];
    for (std::size_t i = 0; i < parts.size(); ++i) add(parts.at(i), depth + 1);
  } else if (type == "ByteLevel") {
    chain_.push_back(ByteLevelDecoder{});
  } else if (type == "ByteFallback") {
    chain_.push_back(ByteFallbackDecoder{});
  } else if (type == "Fuse") {
    chain_.push_back(FuseDecoder{});
  } else if (type == "Metaspace") {
    const std::string scheme =
        json["prepend_scheme"].text_or(json["add_prefix_space"].flag_or(true) ? "always" : "never");
    chain_.push_back(MetaspaceDecoder{one_character(json["replacement"]), scheme != "never"});
  } else if (type == "Strip") {
    constexpr std::int64_t kMost = 1 << 20;
    chain_.push_back(StripDecoder{one_character(json["content"]), static_cast<std::size_t>(json["start"].whole(kMost)),
                                  static_cast<std::size_t>(json["stop"].whole(kMost))});
  } else if (type == "Replace") {
    chain_.push_back(ReplaceDecoder{parse_pattern(json["pattern"]), json["content"].text()});
  } else if (type == "BPEDecoder") {
    chain_.push_back(BpeDecoder{json["suffix"].text_or("</w>")});
  } else {
    raise<DataError>("{}: the decoder {:?} is not supported", json.where(), type);
  }
}

std::string Decoders::apply(std::vector<std::string> tokens) const {
  if (chain_.empty()) return join(tokens, " ");
  for (const Decoder& decoder : chain_) {
    std::visit([&tokens](const auto& d) { tokenizer::apply(d, tokens); }, decoder);
  }
  return join(tokens, "");
}

}  // namespace lorica::tokenizer
