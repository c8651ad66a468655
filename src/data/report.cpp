// The data report as text for the log and as JSON for the cache.
#include "data/report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/strings.hpp"
#include "base/wording.hpp"

namespace lorica::data {
namespace {

constexpr std::size_t kNamedRows = 5;  // enough to find the cause, few enough to read

void append_incident(std::string& text, const Incident& incident, std::string_view what) {
  if (incident.count == 0) return;
  text += fmt::format("  {} {}\n", counted(incident.count, "row"), what);
  for (const auto& example : incident.examples) text += fmt::format("    {}\n", example);
  const auto more = incident.count - static_cast<std::int64_t>(incident.examples.size());
  if (more > 0) text += fmt::format("    … and {} more\n", format_count(more));
}

}  // namespace

void Incident::add(std::string what) {
  ++count;
  if (examples.size() < kNamedRows) examples.push_back(std::move(what));
}

Account DataReport::account() const {
  Account all = unused;
  all.add(notes);
  for (const auto& file : left) {
    all.leave_aside(Account::Kind::file, file.path.parent_path().string(), file.path.filename().string(), file.reason);
  }
  return all;
}

std::string DataReport::text() const {
  const double share = tokens > 0 ? static_cast<double>(supervised) / static_cast<double>(tokens) : 0.0;
  std::string text =
      fmt::format("data: {}, {}, {} of them {} loss ({}), longest {}\n", counted(examples, "example"),
                  counted(tokens, "token"), format_count(supervised), supervised == 1 ? "carries" : "carry",
                  percent(share, 1), format_count(longest_example));
  constexpr std::size_t kListedFiles = 10;
  for (std::size_t i = 0; i < files.size() && i < kListedFiles; ++i) {
    text += fmt::format("  {}: {} as {}\n", files[i].path, counted(files[i].rows, "row"), files[i].format);
  }
  if (files.size() > kListedFiles)
    text += fmt::format("  … and {} more {}\n", files.size() - kListedFiles,
                        noun_for(static_cast<std::int64_t>(files.size() - kListedFiles), "file"));
  append_incident(text, bad, "skipped: malformed");
  append_incident(text, empty, "left out: empty");
  append_incident(text, unsupervised, "left out: no token carries loss");
  append_incident(text, truncated,
                  fmt::format("truncated to context_length: {} cut, {} lost {} end", counted(tokens_cut, "token"),
                              counted(ends_cut, "answer"), ends_cut == 1 ? "its" : "their"));
  if (text_truncated)
    text += "    a text file is one example: --truncation split makes several of it and loses nothing\n";
  append_incident(text, dropped, "left out: longer than context_length");
  append_incident(text, split, "cut into pieces of context_length");
  append_incident(text, repeated_bos, "began with BOS themselves: one is kept");
  if (longest_row > longest_example) text += fmt::format("  longest row: {}\n", counted(longest_row, "token"));
  if (!cache_path.empty()) text += fmt::format("  {} {}\n", from_cache ? "read from" : "cached in", cache_path);
  for (const auto& warning : warnings) text += fmt::format("  warning: {}\n", warning);
  return text;
}

void to_json(nlohmann::json& json, const Incident& incident) {
  json = {{"count", incident.count}, {"examples", incident.examples}};
}

void from_json(const nlohmann::json& json, Incident& incident) {
  json.at("count").get_to(incident.count);
  json.at("examples").get_to(incident.examples);
}

void to_json(nlohmann::json& json, const FileReport& file) {
  json = {{"path", file.path}, {"format", file.format}, {"rows", file.rows}};
}

void from_json(const nlohmann::json& json, FileReport& file) {
  json.at("path").get_to(file.path);
  json.at("format").get_to(file.format);
  json.at("rows").get_to(file.rows);
}

// left, notes, from_cache, cache_path and warnings belong to one run, not to the data, and are not kept.
void to_json(nlohmann::json& json, const DataReport& report) {
  json = {{"files", report.files},
          {"rows_read", report.rows_read},
          {"bad", report.bad},
          {"empty", report.empty},
          {"unsupervised", report.unsupervised},
          {"truncated", report.truncated},
          {"text_truncated", report.text_truncated},
          {"unused", report.unused.to_json()},
          {"dropped", report.dropped},
          {"split", report.split},
          {"repeated_bos", report.repeated_bos},
          {"examples", report.examples},
          {"tokens", report.tokens},
          {"supervised", report.supervised},
          {"tokens_cut", report.tokens_cut},
          {"ends_cut", report.ends_cut},
          {"longest_row", report.longest_row},
          {"longest_example", report.longest_example}};
}

void from_json(const nlohmann::json& json, DataReport& report) {
  json.at("files").get_to(report.files);
  json.at("rows_read").get_to(report.rows_read);
  json.at("bad").get_to(report.bad);
  json.at("empty").get_to(report.empty);
  json.at("unsupervised").get_to(report.unsupervised);
  json.at("truncated").get_to(report.truncated);
  json.at("text_truncated").get_to(report.text_truncated);
  report.unused = Account::from_json(json.at("unused"));
  json.at("dropped").get_to(report.dropped);
  json.at("split").get_to(report.split);
  json.at("repeated_bos").get_to(report.repeated_bos);
  json.at("examples").get_to(report.examples);
  json.at("tokens").get_to(report.tokens);
  json.at("supervised").get_to(report.supervised);
  json.at("tokens_cut").get_to(report.tokens_cut);
  json.at("ends_cut").get_to(report.ends_cut);
  json.at("longest_row").get_to(report.longest_row);
  json.at("longest_example").get_to(report.longest_example);
}

}  // namespace lorica::data
