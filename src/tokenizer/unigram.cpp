// See unigram.hpp. The search follows sentencepiece's EncodeOptimized as `tokenizers` has it, sums in double in the
// same order.
#include "tokenizer/unigram.hpp"

#include <algorithm>
#include <limits>

#include "base/error.hpp"
#include "tokenizer/unicode.hpp"
#include "tokenizer/word_cache.hpp"

namespace lorica::tokenizer {
namespace {

constexpr double kUnknownPenalty = 10.0;

}  // namespace

UnigramModel::UnigramModel(const std::vector<UnigramPiece>& pieces, std::optional<std::int64_t> unknown_id,
                           bool byte_fallback, const std::string& where, bool single_precision)
    : byte_fallback_(byte_fallback), single_precision_(single_precision), owner_(WordCache::new_owner()) {
  if (unknown_id && (*unknown_id < 0 || *unknown_id >= static_cast<std::int64_t>(pieces.size()))) {
    raise<DataError>("{}: unk_id is {}, but the vocabulary has {} tokens", where, *unknown_id, pieces.size());
  }
  if (unknown_id) unknown_ = static_cast<TokenId>(*unknown_id);
  double lowest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto& [token, score, in_text] = pieces[i];
    vocabulary_.add(token, static_cast<std::int64_t>(i), where);
    scores_.push_back(score);
    if (!in_text) continue;
    trie_.add(token, static_cast<std::uint32_t>(i), true);
    lowest = std::min(lowest, score);
  }
  unknown_score_ = lowest - kUnknownPenalty;
  if (single_precision) unknown_score_ = static_cast<float>(unknown_score_);
  for (std::size_t byte = 0; byte < 256; ++byte) {
    fallback_ids_[byte] = vocabulary_.id(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

void UnigramModel::no_unknown() const {
  raise<DataError>("the text needs the tokenizer's unknown token, but its Unigram model has no unk_id");
}

void UnigramModel::search(std::string_view text, std::vector<Best>& best) const {
  best.assign(text.size() + 1, Best{});
  const auto offer = [&](std::size_t from, std::size_t to, double score, TokenId id) {
    if (single_precision_)
      score = static_cast<float>(score);  // the sum of two floats is exact enough in double to round right
    Best& target = best[to];
    if (target.from == std::string_view::npos || score > target.score) target = {score, from, id};
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t character = utf8_length(static_cast<unsigned char>(text[at]));
    const double here = best[at].score;
    bool single = false;
    trie_.prefixes(text.substr(at), [&](std::size_t length, std::uint32_t id) {
      offer(at, at + length, scores_[id] + here, static_cast<TokenId>(id));
      single = single || length == character;
    });
    if (!single) {
      if (!unknown_) no_unknown();
      offer(at, at + character, unknown_score_ + here, *unknown_);
    }
    at += character;
  }
}

bool UnigramModel::add_part(std::string_view part, std::vector<TokenId>& ids) const {
  if (const auto id = vocabulary_.id(part)) {
    ids.push_back(*id);
    return false;
  }
  const bool spelled = byte_fallback_ && std::all_of(part.begin(), part.end(), [this](char byte) {
                         return fallback_ids_[static_cast<unsigned char>(byte)] >= 0;
                       });
  if (spelled) {
    for (const char byte : part) ids.push_back(fallback_ids_[static_cast<unsigned char>(byte)]);
    return true;
  }
  if (!unknown_) no_unknown();
  ids.push_back(*unknown_);
  return false;
}

void UnigramModel::cut(std::string_view piece, std::vector<std::string_view>& parts) const {
  static thread_local std::vector<Best> best;
  search(piece, best);
  parts.clear();
  bool joining = false;  // neighbouring unknown parts become one
  for (std::size_t end = piece.size(); end > 0; end = best[end].from) {
    const std::string_view part = piece.substr(best[end].from, end - best[end].from);
    const bool unknown = unknown_ && best[end].id == *unknown_;
    if (unknown && joining) {
      parts.back() = {part.data(), part.size() + parts.back().size()};
    } else {
      parts.push_back(part);
    }
    joining = unknown;
  }
  std::reverse(parts.begin(), parts.end());
}

void UnigramModel::encode(std::string_view piece, std::vector<TokenId>& ids) const {
  if (piece.empty()) return;
  WordCache& cache = WordCache::local();
  if (cache.find(owner_, piece, ids)) return;
  static thread_local std::vector<std::string_view> parts;
  cut(piece, parts);
  const std::size_t before = ids.size();
  for (const auto part : parts) add_part(part, ids);
  cache.store(owner_, piece, ids.data() + before, ids.size() - before);
}

void UnigramModel::ends(std::string_view piece, std::span<const TokenId> ids, bool /*bytes*/,
                        std::vector<std::size_t>& ends) const {
  // Mostly the piece is nothing but the texts of its tokens.
  const std::size_t before = ends.size();
  std::size_t end = 0;
  for (const TokenId id : ids) {
    const std::string& token = *vocabulary_.token(id);
    if ((unknown_ && id == *unknown_) || (byte_fallback_ && token.starts_with("<0x"))) break;
    ends.push_back(end += token.size());
  }
  if (ends.size() - before == ids.size() && end == piece.size()) return;
  ends.resize(before);
  std::vector<std::string_view> parts;
  std::vector<TokenId> part_ids;
  cut(piece, parts);
  end = 0;
  for (const auto part : parts) {
    part_ids.clear();
    const bool bytes_of_part = add_part(part, part_ids);
    for (std::size_t i = 1; i <= part_ids.size(); ++i) ends.push_back(end + (bytes_of_part ? i : part.size()));
    end += part.size();
  }
}

}  // namespace lorica::tokenizer
