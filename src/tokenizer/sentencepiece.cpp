// See sentencepiece.hpp: a reader for the few protobuf fields that matter, and the pipeline that they describe.
#include "tokenizer/sentencepiece.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "base/error.hpp"
#include "tokenizer/bpe.hpp"
#include "tokenizer/unigram.hpp"

namespace lorica::tokenizer {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

/// Walks over the fields of one protobuf message, never beyond its end.
class Fields {
 public:
  Fields(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  /// Moves to the next field; false at the end.
  bool next() {
    if (at_ == bytes_.size()) return false;
    const std::uint64_t tag = varint();
    number_ = tag >> 3;
    const unsigned wire = tag & 7;
    if (number_ == 0) broken("a field without a number");
    value_ = 0;
    data_ = {};
    if (wire == 0) {
      value_ = varint();
    } else if (wire == 1) {
      take(8);
    } else if (wire == 2) {
      const std::uint64_t size = varint();
      if (size > bytes_.size() - at_) broken("a field that ends behind the file");
      data_ = take(static_cast<std::size_t>(size));
    } else if (wire == 5) {
      const std::string_view raw = take(4);
      std::uint32_t word = 0;
      for (int i = 3; i >= 0; --i) word = word << 8 | static_cast<unsigned char>(raw[static_cast<std::size_t>(i)]);
      value_ = word;
    } else {
      broken("an unknown kind of field");
    }
    return true;
  }
  std::uint64_t number() const { return number_; }
  std::int64_t whole() const { return static_cast<std::int32_t>(value_); }
  bool flag() const { return value_ != 0; }
  float real() const { return std::bit_cast<float>(static_cast<std::uint32_t>(value_)); }
  std::string_view data() const { return data_; }

 private:
  [[noreturn]] void broken(const char* why) const {
    raise<DataError>("{}: not a SentencePiece model, or a damaged one: {} at byte {} of a message", where_, why, at_);
  }
  std::string_view take(std::size_t size) {
    if (size > bytes_.size() - at_) broken("a field that ends behind the file");
    const std::string_view part = bytes_.substr(at_, size);
    at_ += size;
    return part;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    broken("a number that is too long");
  }

  std::string_view bytes_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::uint64_t number_ = 0, value_ = 0;
  std::string_view data_;
};

SentencePieceModel::Piece parse_piece(std::string_view bytes, const std::string& where) {
  SentencePieceModel::Piece piece;
  for (Fields f(bytes, where); f.next();) {
    if (f.number() == 1) piece.text = f.data();
    if (f.number() == 2) piece.score = f.real();
    if (f.number() == 3) piece.type = static_cast<SentencePieceModel::Type>(f.whole());
  }
  return piece;
}

void parse_trainer(std::string_view bytes, SentencePieceModel& model, const std::string& where) {
  for (Fields f(bytes, where); f.next();) {
    if (f.number() == 3) model.model_type = f.whole();
    if (f.number() == 24) model.whitespace_as_suffix = f.flag();
    if (f.number() == 35) model.byte_fallback = f.flag();
    if (f.number() == 40) model.unknown_id = f.whole();
    if (f.number() == 41) model.bos_id = f.whole();
    if (f.number() == 42) model.eos_id = f.whole();
    if (f.number() == 43) model.pad_id = f.whole();
  }
}

void parse_normalizer(std::string_view bytes, SentencePieceModel& model, const std::string& where) {
  for (Fields f(bytes, where); f.next();) {
    if (f.number() == 2) model.character_map = f.data();
    if (f.number() == 3) model.add_dummy_prefix = f.flag();
    if (f.number() == 4) model.remove_extra_whitespaces = f.flag();
    if (f.number() == 5) model.escape_whitespaces = f.flag();
  }
}

void check(const SentencePieceModel& model, const std::string& where) {
  using Type = SentencePieceModel::Type;
  if (model.pieces.empty()) raise<DataError>("{}: a SentencePiece model without pieces", where);
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    const auto& piece = model.pieces[i];
    if (piece.text.empty()) raise<DataError>("{}: piece {} is empty", where, i);
    if (valid_utf8_prefix(piece.text) != piece.text.size())
      raise<DataError>("{}: piece {} is not valid UTF-8", where, i);
    if (piece.type < Type::kNormal || piece.type > Type::kByte) {
      raise<DataError>("{}: piece {} is of the unknown type {}", where, i, static_cast<int>(piece.type));
    }
  }
  if (model.model_type != 1 && model.model_type != 2) {
    raise<DataError>("{}: SentencePiece models of type {} (words or characters) are not supported", where,
                     model.model_type);
  }
  if (model.whitespace_as_suffix) raise<DataError>("{}: treat_whitespace_as_suffix is not supported", where);
  if (!model.escape_whitespaces) raise<DataError>("{}: escape_whitespaces = false is not supported", where);
}

bool in_text(SentencePieceModel::Type type) {
  return type == SentencePieceModel::Type::kNormal || type == SentencePieceModel::Type::kUserDefined;
}

/// Every way to make a piece of two others; the piece's score decides, and of equal ones the leftmost place
/// (sentencepiece's bpe_model).
std::vector<BpeMerge> merges_of(const SentencePieceModel& model, const Vocabulary& vocabulary) {
  std::vector<std::size_t> order(model.pieces.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return model.pieces[a].score > model.pieces[b].score; });
  const auto joins = [&](std::string_view part) {
    const auto id = vocabulary.id(part);
    return id && in_text(model.pieces[static_cast<std::size_t>(*id)].type);
  };
  std::vector<BpeMerge> merges;
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto& piece = model.pieces[order[i]];
    if (i > 0 && piece.score != model.pieces[order[i - 1]].score) ++rank;
    if (!in_text(piece.type)) continue;
    const std::string_view text = piece.text;
    for (std::size_t cut = utf8_length(static_cast<unsigned char>(text[0])); cut < text.size();
         cut += utf8_length(static_cast<unsigned char>(text[cut]))) {
      if (joins(text.substr(0, cut)) && joins(text.substr(cut))) {
        merges.push_back({std::string(text.substr(0, cut)), std::string(text.substr(cut)), rank});
      }
    }
  }
  return merges;
}

std::unique_ptr<Model> bpe_of(const SentencePieceModel& model, const std::string& where) {
  Vocabulary vocabulary;
  for (std::size_t i = 0; i < model.pieces.size(); ++i)
    vocabulary.add(model.pieces[i].text, static_cast<std::int64_t>(i), where);
  BpeOptions options;
  options.fuse_unknown = true;
  options.byte_fallback = model.byte_fallback;
  if (model.unknown_id >= 0 && model.unknown_id < static_cast<std::int64_t>(model.pieces.size())) {
    options.unknown_token = model.pieces[static_cast<std::size_t>(model.unknown_id)].text;
  }
  const auto merges = merges_of(model, vocabulary);
  return std::make_unique<BpeModel>(std::move(vocabulary), merges, std::move(options), where);
}

std::unique_ptr<Model> unigram_of(const SentencePieceModel& model, const std::string& where) {
  std::vector<UnigramPiece> pieces;
  for (const auto& piece : model.pieces) pieces.push_back({piece.text, piece.score, in_text(piece.type)});
  const auto unknown = model.unknown_id >= 0 ? std::optional(model.unknown_id) : std::nullopt;
  return std::make_unique<UnigramModel>(pieces, unknown, model.byte_fallback, where, true);
}

void set_text_rules(const SentencePieceModel& model, const SentencePieceOptions& options, const std::string& where,
                    Pipeline& out) {
  if (!model.character_map.empty()) out.normalizers.add(PrecompiledMap(model.character_map, where));
  if (model.remove_extra_whitespaces) {
    out.normalizers.add(ReplaceNormalizer{Pattern::regex("\\A +|[ \u2581]+\\z", where), ""});
    out.normalizers.add(ReplaceNormalizer{Pattern::regex(" {2,}", where), " "});
  }
  using Prepend = MetaspaceSplit::Prepend;
  const bool prefix = options.add_prefix_space.value_or(model.add_dummy_prefix);
  const bool everywhere = options.legacy || model.remove_extra_whitespaces;
  MetaspaceSplit spaces{std::string(kSpaceMark),
                        !prefix      ? Prepend::kNever
                        : everywhere ? Prepend::kAlways
                                     : Prepend::kFirst,
                        false};
  spaces.even_if_present = true;
  out.pre_tokenizers.add(std::move(spaces));
  out.decoders.add(ReplaceDecoder{Pattern::literal(std::string(kSpaceMark)), " "});
  out.decoders.add(ByteFallbackDecoder{});
  out.decoders.add(FuseDecoder{});
  if (prefix) out.decoders.add(StripDecoder{" ", 1, 0});
}

void add_special_tokens(const SentencePieceModel& model, const SentencePieceOptions& options, Pipeline& out) {
  using Type = SentencePieceModel::Type;
  std::vector<AddedToken> tokens;
  for (const auto& piece : model.pieces) {
    if (piece.type == Type::kControl || piece.type == Type::kUserDefined || piece.type == Type::kUnknown) {
      tokens.push_back({piece.text, false, false, false, false, piece.type != Type::kUserDefined});
    }
  }
  out.added.add(tokens, out.model->vocabulary(), out.normalizers);
  const auto exists = [&](std::int64_t id) { return id >= 0 && id < static_cast<std::int64_t>(model.pieces.size()); };
  out.around.clear();
  if (options.add_bos && exists(model.bos_id)) out.around.emplace_back(static_cast<TokenId>(model.bos_id));
  out.around.emplace_back(std::nullopt);
  if (options.add_eos && exists(model.eos_id)) out.around.emplace_back(static_cast<TokenId>(model.eos_id));
}

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view bytes, const std::string& where) {
  // Llama 3's original release calls a tiktoken file tokenizer.model: lines of base64, a space, a rank.
  if (bytes.starts_with("IQ== 0\n")) {
    raise<DataError>(
        "{}: this is a tiktoken vocabulary, not a SentencePiece model: put the model's tokenizer.json beside it",
        where);
  }
  SentencePieceModel model;
  for (Fields f(bytes, where); f.next();) {
    if (f.number() == 1) model.pieces.push_back(parse_piece(f.data(), where));
    if (f.number() == 2) parse_trainer(f.data(), model, where);
    if (f.number() == 3) parse_normalizer(f.data(), model, where);
  }
  check(model, where);
  return model;
}

Pipeline sentencepiece_pipeline(const SentencePieceModel& model, const SentencePieceOptions& options,
                                const std::string& where) {
  Pipeline out;
  out.model = model.model_type == 2 ? bpe_of(model, where) : unigram_of(model, where);
  set_text_rules(model, options, where, out);
  add_special_tokens(model, options, out);
  out.finish(where);
  return out;
}

}  // namespace lorica::tokenizer
