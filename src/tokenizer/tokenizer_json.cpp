// Reads a tokenizer.json (format of the Hugging Face `tokenizers` library) into a Pipeline.
#include "base/error.hpp"
#include "base/strings.hpp"
#include "tokenizer/bpe.hpp"
#include "tokenizer/pipeline.hpp"
#include "tokenizer/unigram.hpp"

namespace lorica::tokenizer {
namespace {

Vocabulary parse_vocabulary(const JsonView& json) {
  if (!json.json().is_object()) json.wrong("an object of tokens and ids");
  Vocabulary vocabulary;
  for (const auto& [token, id] : json.json().items()) {
    if (!id.is_number_integer()) JsonView(id, fmt::format("{}[{:?}]", json.where(), token)).wrong("a whole number");
    // A value beyond the signed range would wrap to a negative one, which is refused as well.
    vocabulary.add(token, id.get<std::int64_t>(), json.where());
  }
  return vocabulary;
}

/// `["a", "b"]`, or the older "a b".
std::vector<BpeMerge> parse_merges(const JsonView& json) {
  std::vector<BpeMerge> merges;
  const std::size_t count = json.size();
  merges.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto& merge = json.json()[i];
    const auto rank = static_cast<std::uint32_t>(i);
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.push_back({merge[0].get<std::string>(), merge[1].get<std::string>(), rank});
      continue;
    }
    const std::string& line = json.at(i).text();
    if (line.starts_with("#version")) continue;
    const std::vector<std::string> parts = split(line, ' ');
    if (parts.size() != 2) json.at(i).wrong("two tokens with one space between them");
    merges.push_back({parts.at(0), parts.at(1), rank});
  }
  return merges;
}

std::unique_ptr<Model> parse_bpe(const JsonView& json) {
  const JsonView dropout = json["dropout"];
  if (!dropout.is_null() && dropout.number() != 0.0) {
    raise<DataError>("{} is {}: merges dropped at random are not supported; set it to null", dropout.where(),
                     dropout.number());
  }
  BpeOptions options;
  if (!json["unk_token"].is_null()) options.unknown_token = json["unk_token"].text();
  options.continuing_prefix = json["continuing_subword_prefix"].text_or("");
  options.word_suffix = json["end_of_word_suffix"].text_or("");
  options.fuse_unknown = json["fuse_unk"].flag_or(false);
  options.byte_fallback = json["byte_fallback"].flag_or(false);
  options.ignore_merges = json["ignore_merges"].flag_or(false);
  return std::make_unique<BpeModel>(parse_vocabulary(json["vocab"]), parse_merges(json["merges"]), std::move(options),
                                    json.where());
}

std::unique_ptr<Model> parse_unigram(const JsonView& json) {
  const JsonView vocab = json["vocab"], unknown = json["unk_id"];
  std::vector<UnigramPiece> pieces;
  const std::size_t count = vocab.size();
  if (count >= static_cast<std::size_t>(kIdLimit)) vocab.wrong("fewer tokens");
  pieces.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const JsonView pair = vocab.at(i);
    if (pair.size() != 2) pair.wrong("a token and its score");
    pieces.push_back({pair.at(0).text(), pair.at(1).number()});
  }
  const auto unknown_id = unknown.is_null() ? std::nullopt : std::optional(unknown.whole(kIdLimit - 1));
  return std::make_unique<UnigramModel>(pieces, unknown_id, json["byte_fallback"].flag_or(false), json.where());
}

nlohmann::json parse_document(std::string_view text, const std::string& where) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    raise<DataError>("{}: not valid JSON: {}", where, error.what());
  }
}

}  // namespace

std::unique_ptr<Model> parse_model(const JsonView& json) {
  if (json.is_null()) json.wrong("a model");
  const JsonView kind = json["type"];
  // Files of the library's early days have no type: a BPE model is the one with merges.
  const std::string type = kind.text_or(json["merges"].is_null() ? json["unk_id"].is_null() ? "" : "Unigram" : "BPE");
  if (type == "BPE") return parse_bpe(json);
  if (type == "Unigram") return parse_unigram(json);
  raise<DataError>("{}: the model {:?} is not supported (BPE and Unigram are)", kind.where(), type);
}

Pipeline parse_tokenizer_json(std::string_view text, const std::string& where) {
  const nlohmann::json document = parse_document(text, where);
  const JsonView root(document, where);
  const JsonView version = root["version"];
  if (!version.is_null() && version.text() != "1.0") version.wrong("version 1.0");
  Pipeline pipeline;
  pipeline.model = parse_model(root["model"]);
  pipeline.normalizers.add(root["normalizer"]);
  pipeline.pre_tokenizers.add(root["pre_tokenizer"]);
  pipeline.around = parse_post_processor(root["post_processor"]);
  pipeline.decoders.add(root["decoder"]);
  if (!root["added_tokens"].is_null()) {
    std::vector<AddedToken> tokens;
    const JsonView added = root["added_tokens"];
    for (std::size_t i = 0; i < added.size(); ++i) tokens.push_back(parse_added_token(added.at(i)));
    pipeline.added.add(tokens, pipeline.model->vocabulary(), pipeline.normalizers);
  }
  // `truncation` and `padding` are for batches of tensors in Python; lengths are the training run's own business here.
  pipeline.finish(where);
  return pipeline;
}

}  // namespace lorica::tokenizer
