#include "data/preview.hpp"

#include <algorithm>
#include <vector>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "base/wording.hpp"

namespace lorica::data {
namespace {

constexpr std::size_t kHead = 160, kTail = 96;  // tokens shown of a long example

/// Text from the data, safe to print: control characters are named, newlines are shown and kept.
std::string printable(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\n') {
      shown += "↵\n";
    } else if (byte == '\t') {
      shown += "→";
    } else if (byte < 0x20 || byte == 0x7F) {
      shown += fmt::format("\\x{:02x}", byte);
    } else if (byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      shown +=
          fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(text[++i])));  // C1: CSI among them
    } else {
      shown += text[i];
    }
  }
  return shown;
}

struct Token {
  std::int32_t id;
  bool carries_loss;
};

void append_colored(std::string& out, const Token& token, std::size_t index, const TextEncoder& encoder) {
  // Two shades each, so that the edges between tokens can be seen.
  static constexpr const char* kColors[2][2] = {{"\x1b[90m", "\x1b[37m"}, {"\x1b[32m", "\x1b[92m"}};
  const char* color = kColors[token.carries_loss ? 1 : 0][index % 2];
  out += color;
  out += printable(encoder.display(token.id));
  out += "\x1b[0m";
}

std::string render_tokens(const std::vector<Token>& tokens, const TextEncoder& encoder, bool color) {
  std::string out;
  const bool cut = tokens.size() > kHead + kTail;
  bool inside = false;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (cut && i == kHead) {
      i = tokens.size() - kTail;
      out += fmt::format("{} … {} tokens … ", !color && inside ? "⟧" : "", i - kHead);
      inside = false;
    }
    if (color) {
      append_colored(out, tokens[i], i, encoder);
      continue;
    }
    if (inside && !tokens[i].carries_loss) out += "⟧";
    if (i > 0 && tokens[i].carries_loss == inside) out += "|";
    if (!inside && tokens[i].carries_loss) out += "⟦";
    inside = tokens[i].carries_loss;
    out += printable(encoder.display(tokens[i].id));
  }
  if (!color && inside) out += "⟧";
  return out + "\n";
}

std::string legend(bool color) {
  return color ? "\x1b[92mgreen\x1b[0m tokens carry loss, \x1b[37mgrey\x1b[0m ones do not\n"
               : "tokens between ⟦ and ⟧ carry loss; | separates tokens\n";
}

}  // namespace

std::string render_preview(const TokenizedDataset& dataset, const TextEncoder& encoder, int examples, bool color) {
  std::string out = legend(color);
  const auto shown = std::min<std::int64_t>(examples, dataset.size());
  for (std::int64_t i = 0; i < shown; ++i) {
    const auto example = dataset.example(i);
    std::vector<Token> tokens;
    for (const auto id : example.tokens) tokens.push_back({id, false});
    for (const auto& span : example.supervised) {
      for (auto t = span.begin; t < span.end; ++t) tokens[t].carries_loss = true;
    }
    out += fmt::format("── example {} of {} · {} · {}, {} carry loss\n", i + 1, format_count(dataset.size()),
                       printable(dataset.origin(i)), counted(dataset.length(i), "token"), dataset.supervised(i));
    out += render_tokens(tokens, encoder, color);
  }
  return out;
}

std::string render_micro_batch(const MicroBatch& batch, const TextEncoder& encoder, bool color) {
  std::string out = legend(color);
  out += fmt::format("══ {} in one micro-batch, {}, {} carry loss\n", counted(batch.sequences(), "sequence"),
                     counted(batch.tokens(), "token"), batch.supervised());
  for (std::size_t s = 0; s < batch.examples.size(); ++s) {
    const auto begin = static_cast<std::size_t>(batch.offsets[s]), end = static_cast<std::size_t>(batch.offsets[s + 1]);
    std::vector<Token> tokens;
    for (auto t = begin; t < end; ++t) {
      tokens.push_back({batch.input_ids[t], t > begin && batch.labels[t - 1] != kIgnoreLabel});
    }
    out += fmt::format("── sequence {} · tokens {} to {} · example {}\n", s + 1, begin, end, batch.examples[s]);
    out += render_tokens(tokens, encoder, color);
  }
  return out;
}

}  // namespace lorica::data
