// The door through which the parity tests and the benchmark of the tokenizer see it: texts in, ids out.
// Texts come from a file of records, each a little-endian u32 length and that many bytes, so that newlines and
// malformed UTF-8 survive.
//
//   tokenize_lines encode MODEL TEXTS OUT [--no-special]   OUT: one JSON list of ids a line
//   tokenize_lines spans MODEL TEXTS OUT [--no-special]    OUT: {"ids": [...], "spans": [[begin, end], ...]} a line
//   tokenize_lines decode MODEL IDS OUT [--skip-special]   IDS: one JSON list a line; OUT: records as above
//   tokenize_lines stream MODEL IDS OUT                    the same through StreamDecoder
//   tokenize_lines time MODEL TEXTS THREADS [PASSES]       prints seconds of the best of five (PASSES) passes, the
//                                                          number of ids, and Σ id·place modulo 2⁶⁴ over all of them
#include <chrono>
#include <cstring>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/parallel.hpp"
#include "tokenizer/tokenizer.hpp"

namespace {

using lorica::tokenizer::StreamDecoder;
using lorica::tokenizer::TokenId;
using lorica::tokenizer::Tokenizer;
using Ids = std::vector<TokenId>;

std::vector<std::string_view> records_of(const std::string& bytes) {
  std::vector<std::string_view> records;
  for (std::size_t at = 0; at + 4 <= bytes.size();) {
    std::uint32_t length = 0;
    std::memcpy(&length, bytes.data() + at, 4);
    records.push_back(std::string_view(bytes).substr(at + 4, length));
    at += 4 + length;
  }
  return records;
}

void write_record(std::ostream& out, const std::string& text) {
  const auto length = static_cast<std::uint32_t>(text.size());
  out.write(reinterpret_cast<const char*>(&length), 4).write(text.data(), length);
}

void write_ids(std::ostream& out, const std::vector<Ids>& lists) {
  for (const Ids& ids : lists) out << nlohmann::json(ids).dump() << '\n';
}

void write_spans(std::ostream& out, const Tokenizer& tokenizer, const std::vector<std::string_view>& texts,
                 bool special) {
  for (const auto text : texts) {
    const auto encoding = tokenizer.encode_with_spans(text, special);
    auto spans = nlohmann::json::array();
    for (const auto& [begin, end] : encoding.spans) spans.push_back({begin, end});
    out << nlohmann::json{{"ids", encoding.ids}, {"spans", std::move(spans)}}.dump() << '\n';
  }
}

std::string stream(const Tokenizer& tokenizer, const Ids& ids) {
  StreamDecoder decoder(tokenizer, false);
  std::string text;
  for (const TokenId id : ids) text += decoder.add(id);
  return text + decoder.finish();
}

void time_encoding(const Tokenizer& tokenizer, const std::vector<std::string_view>& texts, int threads, int passes) {
  lorica::set_thread_count(threads);
  double best = 1e30;
  std::uint64_t count = 0, sum = 0;
  for (int pass = 0; pass < passes; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    const auto lists = tokenizer.encode_batch(texts, false);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    count = sum = 0;
    for (const Ids& ids : lists) {
      for (const TokenId id : ids) sum += static_cast<std::uint64_t>(id) * ++count;
    }
  }
  std::cout << best << ' ' << count << ' ' << sum << '\n';
}

int run(const std::vector<std::string>& args) {
  if (args.size() < 4) {
    std::cerr
        << "usage: tokenize_lines encode|spans|decode|stream MODEL INPUT OUTPUT [flag], or time MODEL TEXTS THREADS "
           "[PASSES]\n";
    return 2;
  }
  const std::string& mode = args[0];
  const Tokenizer tokenizer = Tokenizer::load(args[1]);
  const std::string input = lorica::read_file(args[2]);
  const bool flag = args.size() > 4;
  if (mode == "time") {
    time_encoding(tokenizer, records_of(input), std::stoi(args[3]), flag ? std::stoi(args[4]) : 5);
    return 0;
  }
  std::ofstream out(args[3], std::ios::binary);
  if (mode == "encode") {
    write_ids(out, tokenizer.encode_batch(records_of(input), !flag));
    return 0;
  }
  if (mode == "spans") {
    write_spans(out, tokenizer, records_of(input), !flag);
    return 0;
  }
  std::size_t start = 0;
  for (std::size_t end = input.find('\n'); end != std::string::npos; start = end + 1, end = input.find('\n', start)) {
    const Ids ids = nlohmann::json::parse(input.substr(start, end - start)).get<Ids>();
    write_record(out, mode == "stream" ? stream(tokenizer, ids) : tokenizer.decode(ids, flag));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const lorica::Error& error) {
    std::cerr << "error: " << error.what() << '\n';
    return error.exit_code();
  }
}
