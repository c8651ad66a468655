#include "train/metrics/jsonl.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/files.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

using nlohmann::json;

/// Builds one flat JSON object; fmt's "{}" of a double is the shortest text that reads back as the same double.
class Object {
 public:
  Object& text(std::string_view key, std::string_view value) { return raw(key, json(value).dump()); }
  Object& number(std::string_view key, double value) {
    return raw(key, std::isfinite(value) ? fmt::format("{}", value) : "null");
  }
  Object& number(std::string_view key, const std::optional<double>& value) {
    return value ? number(key, *value) : *this;
  }
  Object& integer(std::string_view key, std::int64_t value) { return raw(key, fmt::format("{}", value)); }
  Object& raw(std::string_view key, std::string_view value) {
    text_ += fmt::format("{}{}:{}", text_.empty() ? "{" : ",", json(key).dump(), value);
    return *this;
  }
  std::string end() const { return text_.empty() ? "{}" : text_ + "}"; }

 private:
  std::string text_;
};

/// null stands for a number that wasn't finite.
double number(const json& object, const char* key) {
  const auto& value = object.at(key);
  return value.is_null() ? std::nan("") : value.get<double>();
}

std::optional<double> optional_number(const json& object, const char* key) {
  if (!object.contains(key)) return std::nullopt;
  return number(object, key);
}

StepMetrics parse_step(const json& object) {
  StepMetrics metrics;
  metrics.step = object.at("step").get<std::int64_t>();
  metrics.epoch = number(object, "epoch");
  metrics.loss = number(object, "loss");
  metrics.lr = number(object, "lr");
  metrics.grad_norm = optional_number(object, "grad_norm");
  metrics.tokens = object.at("tokens").get<std::int64_t>();
  metrics.supervised_tokens = object.at("supervised_tokens").get<std::int64_t>();
  metrics.examples = object.at("examples").get<std::int64_t>();
  if (object.contains("extra")) {
    for (const auto& [key, value] : object.at("extra").items()) {
      metrics.extra[key] = value.is_null() ? std::nan("") : value.get<double>();
    }
  }
  const auto& timing = object.at("timing");
  metrics.total_steps = timing.at("total_steps").get<std::int64_t>();
  metrics.step_seconds = number(timing, "step_seconds");
  metrics.tokens_per_second = number(timing, "tokens_per_second");
  metrics.matmul_share = optional_number(timing, "matmul_share");
  metrics.peak_memory_bytes = timing.at("peak_memory_bytes").get<std::uint64_t>();
  if (timing.contains("start")) {
    const auto& start = timing.at("start");
    metrics.start =
        StartMetrics{number(start, "load_seconds"), start.at("loaded_peak_bytes").get<std::uint64_t>(),
                     number(start, "ready_seconds"), number(start, "first_step_seconds"), start.value("recompute", "")};
  }
  return metrics;
}

EvalMetrics parse_evaluation(const json& object) {
  EvalMetrics metrics;
  metrics.step = object.at("step").get<std::int64_t>();
  metrics.epoch = number(object, "epoch");
  metrics.loss = number(object, "loss");
  metrics.perplexity = number(object, "perplexity");
  metrics.tokens = object.at("tokens").get<std::int64_t>();
  metrics.examples = object.at("examples").get<std::int64_t>();
  metrics.seconds = number(object.at("timing"), "seconds");
  return metrics;
}

/// Calls body(line, number) for each line that ends in a newline.
template <class Body>
void for_each_line(std::string_view content, const Body& body) {
  std::int64_t number = 1;
  for (std::size_t end; (end = content.find('\n')) != std::string_view::npos; ++number) {
    if (end > 0) body(content.substr(0, end), number);
    content.remove_prefix(end + 1);
  }
}

}  // namespace

std::string to_jsonl(const StepMetrics& metrics) {
  Object timing;
  // total_steps can grow from one session to the next (max_steps raised), so it isn't part of what must repeat.
  timing.integer("total_steps", metrics.total_steps)
      .number("step_seconds", metrics.step_seconds)
      .number("tokens_per_second", metrics.tokens_per_second)
      .number("matmul_share", metrics.matmul_share)
      .integer("peak_memory_bytes", static_cast<std::int64_t>(metrics.peak_memory_bytes));
  if (metrics.start) {
    Object start;
    start.number("load_seconds", metrics.start->load_seconds)
        .integer("loaded_peak_bytes", static_cast<std::int64_t>(metrics.start->loaded_peak_bytes))
        .number("ready_seconds", metrics.start->ready_seconds)
        .number("first_step_seconds", metrics.start->first_step_seconds)
        .text("recompute", metrics.start->recompute);
    timing.raw("start", start.end());
  }
  Object object;
  object.text("kind", "train")
      .integer("step", metrics.step)
      .number("epoch", metrics.epoch)
      .number("loss", metrics.loss)
      .number("lr", metrics.lr)
      .number("grad_norm", metrics.grad_norm)
      .integer("tokens", metrics.tokens)
      .integer("supervised_tokens", metrics.supervised_tokens)
      .integer("examples", metrics.examples);
  if (!metrics.extra.empty()) {
    Object extra;
    for (const auto& [name, value] : metrics.extra) extra.number(name, value);
    object.raw("extra", extra.end());
  }
  return object.raw("timing", timing.end()).end();
}

std::string to_jsonl(const EvalMetrics& metrics) {
  Object object;
  return object.text("kind", "eval")
      .integer("step", metrics.step)
      .number("epoch", metrics.epoch)
      .number("loss", metrics.loss)
      .number("perplexity", metrics.perplexity)
      .integer("tokens", metrics.tokens)
      .integer("examples", metrics.examples)
      .raw("timing", Object().number("seconds", metrics.seconds).end())
      .end();
}

MetricsRecords read_metrics(const fs::path& file) {
  MetricsRecords records;
  for_each_line(read_file(file), [&](std::string_view line, std::int64_t number) {
    try {
      const auto object = json::parse(line);
      const auto kind = object.at("kind").get<std::string>();
      if (kind == "train") records.steps.push_back(parse_step(object));
      if (kind == "eval") records.evaluations.push_back(parse_evaluation(object));
    } catch (const json::exception& error) {
      raise<DataError>("{}:{}: not a metrics record ({})", file.string(), number, error.what());
    }
  });
  return records;
}

JsonlSink::JsonlSink(fs::path file, std::optional<std::int64_t> resumed_step) : file_(std::move(file)) {
  std::string kept;
  if (resumed_step && fs::exists(file_)) {
    for_each_line(read_file(file_), [&](std::string_view line, std::int64_t number) {
      const auto object = json::parse(line, nullptr, false);
      if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer()) {
        spdlog::warn("{}:{}: not a metrics record; dropped", file_.string(), number);
        return;
      }
      const auto step = object["step"].get<std::int64_t>();
      if (step > *resumed_step) return;
      const auto kind = object.value("kind", "");
      if (!kept_.emplace(kind == "eval" ? 'e' : 't', step).second) return;
      kept.append(line).push_back('\n');
    });
  }
  write_file(file_, kept);
  fd_ = ::open(file_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd_ < 0) raise<FileError>("{}: can't append to the file: {}", file_.string(), std::strerror(errno));
}

JsonlSink::~JsonlSink() {
  if (fd_ >= 0) ::close(fd_);
}

void JsonlSink::step(const StepMetrics& metrics) {
  if (!kept_.contains({'t', metrics.step})) append(to_jsonl(metrics));
}

void JsonlSink::evaluation(const EvalMetrics& metrics) {
  if (!kept_.contains({'e', metrics.step})) append(to_jsonl(metrics));
}

void JsonlSink::append(std::string line) {
  line += '\n';
  std::string_view left = line;
  while (!left.empty()) {
    const auto count = ::write(fd_, left.data(), left.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      raise<FileError>("{}: can't write the file: {}. Free some space; the run can be resumed.", file_.string(),
                       std::strerror(errno));
    }
    left.remove_prefix(static_cast<std::size_t>(count));
  }
}

void JsonlSink::finish() {
  sync_path(file_);
}

}  // namespace lorica::train
