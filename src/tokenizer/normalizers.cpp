// See normalizers.hpp. Each apply() says what one normalizer of the Rust library does to the text (its alignments
// aside).
#include "tokenizer/normalizers.hpp"

#include "base/error.hpp"
#include "tokenizer/byte_level.hpp"

namespace lorica::tokenizer {
namespace {

/// Keeps the characters for which `keep` holds.
template <class Keep>
void filter(NormalizedText& text, Keep keep) {
  std::string out;
  out.reserve(text.text.size());
  for (std::size_t at = 0; at < text.text.size();) {
    const CodePoint c = decode_utf8(text.text.data() + at);
    if (keep(c.value)) {
      out.append(text.text, at, c.length);
    } else if (out.empty()) {
      text.at_start = false;
    }
    at += c.length;
  }
  text.text = std::move(out);
}

void apply(const FormNormalizer& n, NormalizedText& text) {
  text.text = normal_form(text.text, n.form);
}

void apply(const LowercaseNormalizer&, NormalizedText& text) {
  text.text = lowercase(text.text);
}

void apply(const StripNormalizer& n, NormalizedText& text) {
  const std::string& s = text.text;
  std::size_t begin = 0, end = s.size();
  while (n.left && begin < end) {
    const CodePoint c = decode_utf8(s.data() + begin);
    if (!(unicode_flags(c.value) & kWhiteSpace)) break;
    begin += c.length;
  }
  while (n.right && end > begin) {
    const char* last = previous_utf8(s.data() + begin, s.data() + end);
    if (!(unicode_flags(decode_utf8(last).value) & kWhiteSpace)) break;
    end = static_cast<std::size_t>(last - s.data());
  }
  if (begin > 0) text.at_start = false;
  text.text = s.substr(begin, end - begin);
}

void apply(const StripAccentsNormalizer&, NormalizedText& text) {
  filter(text, [](char32_t c) { return !(unicode_flags(c) & kMark); });
}

/// SentencePiece's nmt rules: control characters go, other separators become a space.
void apply(const NmtNormalizer&, NormalizedText& text) {
  filter(text, [](char32_t c) {
    return !((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F);
  });
  std::string out;
  out.reserve(text.text.size());
  for (std::size_t at = 0; at < text.text.size();) {
    const CodePoint c = decode_utf8(text.text.data() + at);
    const char32_t v = c.value;
    const bool space = v == 0x09 || v == 0x0A || v == 0x0C || v == 0x0D || v == 0x1680 ||
                       (v >= 0x200B && v <= 0x200F) || v == 0x2028 || v == 0x2029 || v == 0x2581 || v == 0xFEFF ||
                       v == 0xFFFD;
    append_utf8(out, space ? U' ' : v);
    at += c.length;
  }
  text.text = std::move(out);
}

void apply(const ByteLevelNormalizer&, NormalizedText& text) {
  std::string out;
  append_byte_level(out, text.text);
  text.text = std::move(out);
}

void apply(const PrependNormalizer& n, NormalizedText& text) {
  if (!text.text.empty()) text.text.insert(0, n.prefix);
}

void apply(const ReplaceNormalizer& n, NormalizedText& text) {
  std::vector<Span> matches;
  if (!text.text.empty()) n.pattern.find_all(text.text, matches);
  if (matches.empty()) return;
  // A new first character stands where the last one that it replaces stood.
  const Span& first = matches.front();
  if (first.begin == 0 && first.end > 0 &&
      (n.content.empty() || first.end > utf8_length(static_cast<unsigned char>(text.text[0])))) {
    text.at_start = false;
  }
  std::string out;
  out.reserve(text.text.size() + matches.size() * n.content.size());
  std::size_t done = 0;
  for (const Span& match : matches) {
    out.append(text.text, done, match.begin - done).append(n.content);
    done = match.end;
  }
  text.text = out.append(text.text, done);
}

void apply(const PrecompiledMap& map, NormalizedText& text) {
  text.text = map.apply(text.text);
}

PrecompiledMap parse_precompiled(const JsonView& json) {
  const JsonView map = json["precompiled_charsmap"];
  const auto blob = decode_base64(map.text());
  if (!blob) raise<DataError>("{}: malformed base64", map.where());
  return {*blob, map.where()};
}

std::optional<Normalizer> parse_simple(const std::string& type) {
  if (type == "NFC") return FormNormalizer{NormalForm::kNfc};
  if (type == "NFD") return FormNormalizer{NormalForm::kNfd};
  if (type == "NFKC") return FormNormalizer{NormalForm::kNfkc};
  if (type == "NFKD") return FormNormalizer{NormalForm::kNfkd};
  if (type == "Lowercase") return LowercaseNormalizer{};
  if (type == "StripAccents") return StripAccentsNormalizer{};
  if (type == "Nmt") return NmtNormalizer{};
  if (type == "ByteLevel") return ByteLevelNormalizer{};
  return std::nullopt;
}

}  // namespace

Pattern parse_pattern(const JsonView& json) {
  const JsonView literal = json["String"], regex = json["Regex"];
  if (!literal.is_null()) return Pattern::literal(literal.text());
  if (regex.is_null()) json.wrong("{\"String\": …} or {\"Regex\": …}");
  return Pattern::regex(regex.text(), regex.where());
}

void Normalizers::add(const JsonView& json, int depth) {
  if (json.is_null()) return;
  if (depth > kMaxSequenceDepth) raise<DataError>("{}: sequences are nested too deep", json.where());
  const std::string& type = json["type"].text();
  if (type == "Sequence") {
    const JsonView parts = json["normalizers"];
    for (std::size_t i = 0; i < parts.size(); ++i) add(parts.at(i), depth + 1);
  } else if (auto simple = parse_simple(type)) {
    chain_.push_back(std::move(*simple));
  } else if (type == "Strip") {
    chain_.push_back(StripNormalizer{json["strip_left"].flag_or(true), json["strip_right"].flag_or(true)});
  } else if (type == "Prepend") {
    chain_.push_back(PrependNormalizer{json["prepend"].text()});
  } else if (type == "Replace") {
    chain_.push_back(ReplaceNormalizer{parse_pattern(json["pattern"]), json["content"].text()});
  } else if (type == "Precompiled") {
    chain_.push_back(parse_precompiled(json));
  } else {
    raise<DataError>("{}: the normalizer {:?} is not supported", json.where(), type);
  }
}

void Normalizers::apply(NormalizedText& text) const {
  for (const Normalizer& normalizer : chain_) {
    std::visit([&text](const auto& n) { tokenizer::apply(n, text); }, normalizer);
  }
}

}  // namespace lorica::tokenizer
