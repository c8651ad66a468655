// See post_processor.hpp.
#include "tokenizer/post_processor.hpp"

#include "base/error.hpp"
#include "tokenizer/normalizers.hpp"

namespace lorica::tokenizer {
namespace {

void add_special(const JsonView& specials, const JsonView& name, PostTemplate& out) {
  const JsonView token = specials[name.text().c_str()];
  if (token.is_null()) raise<DataError>("{}: {:?} is not among the special_tokens", name.where(), name.text());
  const JsonView ids = token["ids"];
  for (std::size_t i = 0; i < ids.size(); ++i) out.emplace_back(static_cast<TokenId>(ids.at(i).whole(kIdLimit - 1)));
}

PostTemplate parse_template(const JsonView& json) {
  PostTemplate out;
  const JsonView pieces = json["single"], specials = json["special_tokens"];
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const JsonView special = pieces.at(i)["SpecialToken"], sequence = pieces.at(i)["Sequence"];
    if (!special.is_null()) {
      add_special(specials, special["id"], out);
    } else if (sequence.is_null()) {
      pieces.at(i).wrong("{\"SpecialToken\": …} or {\"Sequence\": …}");
    } else if (sequence["id"].text() == "A") {
      out.emplace_back(std::nullopt);
    } else {
      sequence["id"].wrong("the sequence A (a template for one text)");
    }
  }
  return out;
}

/// `["</s>", 2]`
TokenId named_id(const JsonView& json) {
  if (json.size() != 2) json.wrong("a token and its id");
  return static_cast<TokenId>(json.at(1).whole(kIdLimit - 1));
}

PostTemplate parse(const JsonView& json, int depth) {
  const PostTemplate just_text = {std::nullopt};
  if (json.is_null()) return just_text;
  if (depth > kMaxSequenceDepth) raise<DataError>("{}: sequences are nested too deep", json.where());
  const std::string& type = json["type"].text();
  if (type == "ByteLevel") return just_text;  // it only trims offsets
  if (type == "TemplateProcessing") return parse_template(json);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    return {named_id(json["cls"]), std::nullopt, named_id(json["sep"])};
  }
  if (type != "Sequence") raise<DataError>("{}: the post-processor {:?} is not supported", json.where(), type);
  PostTemplate out = just_text;
  const JsonView parts = json["processors"];
  for (std::size_t i = 0; i < parts.size(); ++i) {
    PostTemplate next = parse(parts.at(i), depth + 1);
    if (next == just_text) continue;
    if (out != just_text) raise<DataError>("{}: more than one template in a sequence is not supported", json.where());
    out = std::move(next);
  }
  return out;
}

}  // namespace

PostTemplate parse_post_processor(const JsonView& json) {
  return parse(json, 0);
}

}  // namespace lorica::tokenizer
