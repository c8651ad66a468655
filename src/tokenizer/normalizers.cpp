// See normalizers.hpp. Each apply() says what one normalizer of the Rust library does to the text.
#include "tokenizer/normalizers.hpp"

#include "base/error.hpp"
#include "tokenizer/byte_level.hpp"

namespace lorica::tokenizer {
namespace {

/// Builds the text that a normalizer makes of another, with its alignment where that is wanted.
class Rewriter {
 public:
  explicit Rewriter(NormalizedText& text) : from_(text) {
    out_.reserve(text.text.size() + text.text.size() / 8);
    if (text.aligned) alignment_.reserve(text.text.size() + text.text.size() / 8);
  }
  /// Takes over the bytes [begin, end).
  void keep(std::size_t begin, std::size_t end) {
    out_.append(from_.text, begin, end - begin);
    if (!from_.aligned) return;
    const auto first = from_.alignment.begin();
    alignment_.insert(alignment_.end(), first + static_cast<std::ptrdiff_t>(begin),
                      first + static_cast<std::ptrdiff_t>(end));
  }
  /// Writes `content`, which stands for the bytes [begin, end); for none of them if that is empty.
  void put(std::string_view content, std::size_t begin, std::size_t end) {
    out_.append(content);
    if (!from_.aligned) return;
    TextSpan place{0, 0};
    if (end > begin) {
      place = {from_.alignment[begin].begin, from_.alignment[end - 1].end};
    } else if (begin > 0) {
      place = from_.alignment[begin - 1];
    }
    alignment_.insert(alignment_.end(), content.size(), place);
  }
  bool empty() const { return out_.empty(); }
  ~Rewriter() {
    from_.text = std::move(out_);
    from_.alignment = std::move(alignment_);
  }
  Rewriter(const Rewriter&) = delete;
  Rewriter& operator=(const Rewriter&) = delete;

 private:
  NormalizedText& from_;
  std::string out_;
  Alignment alignment_;
};

/// Keeps the characters for which `keep` holds.
template <class Keep>
void filter(NormalizedText& text, Keep keep) {
  Rewriter out(text);
  for (std::size_t at = 0; at < text.text.size();) {
    const CodePoint c = decode_utf8(text.text.data() + at);
    if (keep(c.value)) {
      out.keep(at, at + c.length);
    } else if (out.empty()) {
      text.at_start = false;
    }
    at += c.length;
  }
}

/// Whether a normal form may join the character, or what it is decomposed into, to the one before it: marks, the vowels
/// and final consonants of Hangul, and the halfwidth forms of both.
bool joins_previous(char32_t c) {
  const bool hangul = (c >= 0x1160 && c <= 0x11FF) || (c >= 0x314F && c <= 0x3163) || (c >= 0xD7B0 && c <= 0xD7FF);
  const bool halfwidth = c >= 0xFF9E && c <= 0xFFDC;
  return hangul || halfwidth || (unicode_flags(c) & kMark) != 0;
}

void apply(const FormNormalizer& n, NormalizedText& text) {
  std::string whole = normal_form(text.text, n.form);
  if (!text.aligned || whole == text.text) {
    text.text = std::move(whole);
    return;
  }
  NormalizedText parts = text;
  {
    Rewriter out(parts);
    const auto end_of_part = [&](std::size_t at) {
      do at += utf8_length(static_cast<unsigned char>(text.text[at]));
      while (at < text.text.size() && joins_previous(decode_utf8(text.text.data() + at).value));
      return at;
    };
    for (std::size_t at = 0; at < text.text.size();) {
      const std::size_t end = end_of_part(at);
      const auto part = std::string_view(text.text).substr(at, end - at);
      out.put(normal_form(part, n.form), at, end);
      at = end;
    }
  }
  if (parts.text != whole) {  // a join that joins_previous() doesn't know: all of it stands for all of it
    const TextSpan all{text.alignment.front().begin, text.alignment.back().end};
    parts.alignment.assign(whole.size(), all);
    parts.text = std::move(whole);
  }
  text = std::move(parts);
}

void apply(const LowercaseNormalizer&, NormalizedText& text) {
  if (!text.aligned) {
    text.text = lowercase(text.text);
    return;
  }
  Rewriter out(text);
  for (std::size_t at = 0; at < text.text.size();) {
    const std::size_t length = utf8_length(static_cast<unsigned char>(text.text[at]));
    out.put(lowercase(std::string_view(text.text).substr(at, length)), at, at + length);
    at += length;
  }
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
  Rewriter(text).keep(begin, end);
}

void apply(const StripAccentsNormalizer&, NormalizedText& text) {
  filter(text, [](char32_t c) { return !(unicode_flags(c) & kMark); });
}

/// SentencePiece's nmt rules: control characters go, other separators become a space.
void apply(const NmtNormalizer&, NormalizedText& text) {
  filter(text, [](char32_t c) {
    return !((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F);
  });
  Rewriter out(text);
  for (std::size_t at = 0; at < text.text.size();) {
    const CodePoint c = decode_utf8(text.text.data() + at);
    const char32_t v = c.value;
    const bool space = v == 0x09 || v == 0x0A || v == 0x0C || v == 0x0D || v == 0x1680 ||
                       (v >= 0x200B && v <= 0x200F) || v == 0x2028 || v == 0x2029 || v == 0x2581 || v == 0xFEFF ||
                       v == 0xFFFD;
    if (space) {
      out.put(" ", at, at + c.length);
    } else {
      out.keep(at, at + c.length);
    }
    at += c.length;
  }
}

void apply(const ByteLevelNormalizer&, NormalizedText& text) {
  Rewriter out(text);
  for (std::size_t at = 0; at < text.text.size(); ++at) {
    out.put(byte_character(static_cast<unsigned char>(text.text[at])), at, at + 1);
  }
}

void apply(const PrependNormalizer& n, NormalizedText& text) {
  if (text.text.empty()) return;
  Rewriter out(text);
  out.put(n.prefix, 0, utf8_length(static_cast<unsigned char>(text.text[0])));
  out.keep(0, text.text.size());
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
  Rewriter out(text);
  std::size_t done = 0;
  for (const Span& match : matches) {
    out.keep(done, match.begin);
    out.put(n.content, match.end > match.begin ? match.end - 1 : match.begin, match.end);
    done = match.end;
  }
  out.keep(done, text.text.size());
}

void apply(const PrecompiledMap& map, NormalizedText& text) {
  Rewriter out(text);
  map.apply(text.text,
            [&](std::size_t begin, std::size_t end, std::string_view content) { out.put(content, begin, end); });
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
