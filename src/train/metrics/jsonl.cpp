#include "train/metrics/jsonl.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "base/error.hpp"
#include "base/files.hpp"
#include "train/metrics/fields.hpp"

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

/// One field of a record into an object; an optional number that isn't there leaves nothing.
template <class Record>
void write_field(Object& object, const Record& record, const Field<Record>& field) {
  std::visit(
      [&](auto member) {
        const auto& value = record.*member;
        using Value = std::remove_cvref_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, std::string>) {
          object.text(field.key, value);
        } else if constexpr (std::is_integral_v<Value>) {
          object.integer(field.key, static_cast<std::int64_t>(value));
        } else {
          object.number(field.key, value);
        }
      },
      field.member);
}

template <class Record>
void write_fields(Object& object, const Record& record, std::span<const Field<Record>> fields,
                  std::initializer_list<Part> parts) {
  for (const auto& field : fields) {
    if (std::find(parts.begin(), parts.end(), field.part) != parts.end()) write_field(object, record, field);
  }
}

/// null stands for a number that wasn't finite.
double number(const json& value) {
  return value.is_null() ? std::nan("") : value.get<double>();
}

template <class Record>
void read_fields(const json& object, Record& record, std::span<const Field<Record>> fields,
                 std::initializer_list<Part> parts) {
  for (const auto& field : fields) {
    if (std::find(parts.begin(), parts.end(), field.part) == parts.end()) continue;
    std::visit(
        [&](auto member) {
          auto& value = record.*member;
          using Value = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::is_same_v<Value, std::optional<double>>) {
            if (object.contains(field.key)) value = number(object.at(field.key));
          } else if constexpr (std::is_same_v<Value, double>) {
            value = number(object.at(field.key));
          } else {
            value = object.at(field.key).template get<Value>();
          }
        },
        field.member);
  }
}

StepMetrics parse_step(const json& object, bool training) {
  StepMetrics metrics;
  if (training) read_fields(object, metrics, step_fields(), {Part::training});
  read_fields(object, metrics, step_fields(), {Part::both});
  const auto& timing = object.at("timing");
  read_fields(timing, metrics, step_fields(), {Part::timing});
  if (timing.contains("start")) {
    read_fields(timing.at("start"), metrics.start.emplace(), start_fields(), {Part::timing});
  }
  return metrics;
}

template <class Record>
Record parse(const json& object, std::span<const Field<Record>> fields) {
  Record metrics;
  read_fields(object, metrics, fields, {Part::both});
  read_fields(object.at("timing"), metrics, fields, {Part::timing});
  return metrics;
}

template <class Record>
std::string record_text(std::string_view kind, const Record& record, std::span<const Field<Record>> fields) {
  Object timing;
  write_fields(timing, record, fields, {Part::timing});
  Object object;
  object.text("kind", kind);
  write_fields(object, record, fields, {Part::both});
  return object.raw("timing", timing.end()).end();
}

std::string step_text(std::string_view kind, const StepMetrics& metrics, std::initializer_list<Part> parts) {
  Object timing;
  // total_steps can grow from one session to the next (max_steps raised), so it isn't part of what must repeat.
  write_fields(timing, metrics, step_fields(), {Part::timing});
  if (metrics.start) {
    Object start;
    write_fields(start, *metrics.start, start_fields(), {Part::timing});
    timing.raw("start", start.end());
  }
  Object object;
  object.text("kind", kind);
  write_fields(object, metrics, step_fields(), parts);
  return object.raw("timing", timing.end()).end();
}

/// Calls body(line, number) for each line that ends in a newline; returns what follows the last one.
template <class Body>
std::string_view for_each_line(std::string_view content, const Body& body) {
  std::int64_t number = 1;
  for (std::size_t end; (end = content.find('\n')) != std::string_view::npos; ++number) {
    if (end > 0) body(content.substr(0, end), number);
    content.remove_prefix(end + 1);
  }
  return content;
}

void add_record(const json& object, MetricsRecords& records) {
  const auto kind = object.at("kind").get<std::string>();
  if (kind == "train") {
    records.steps.push_back(parse_step(object, true));
  } else if (kind == "system") {
    records.systems.push_back(parse_step(object, false));
  } else if (kind == "eval") {
    records.evaluations.push_back(parse(object, eval_fields()));
  } else if (kind == "end") {
    records.end = parse(object, end_fields());
  } else {
    raise<DataError>("'{}' is no kind of record", kind);
  }
}

}  // namespace

std::string to_jsonl(const StepMetrics& metrics) {
  return step_text("train", metrics, {Part::training, Part::both});
}

std::string system_to_jsonl(const StepMetrics& metrics) {
  return step_text("system", metrics, {Part::both});
}

std::string to_jsonl(const EvalMetrics& metrics) {
  return record_text("eval", metrics, eval_fields());
}

std::string to_jsonl(const EndMetrics& metrics) {
  return record_text("end", metrics, end_fields());
}

MetricsRecords read_metrics(const fs::path& file) {
  MetricsRecords records;
  const auto content = read_file(file);
  std::int64_t last = 0;
  const auto rest = for_each_line(content, [&](std::string_view line, std::int64_t number) {
    last = number;
    try {
      add_record(json::parse(line), records);
    } catch (const json::exception& error) {
      records.broken.push_back(fmt::format("{}: {}", number, error.what()));
    } catch (const DataError& error) {
      records.broken.push_back(fmt::format("{}: {}", number, error.what()));
    }
  });
  if (!rest.empty()) records.broken.push_back(fmt::format("{}: cut short, its writer was killed", last + 1));
  return records;
}

JsonlSink::JsonlSink(fs::path file, std::optional<std::int64_t> resumed_step) : file_(std::move(file)) {
  std::string kept;
  if (resumed_step && fs::exists(file_)) {
    for_each_line(read_file(file_), [&](std::string_view line, std::int64_t number) {
      const auto object = json::parse(line, nullptr, false);
      const bool whole = object.is_object() && object.contains("step") && object["step"].is_number_integer() &&
                         object.contains("kind") && object["kind"].is_string();
      if (!whole) {
        spdlog::warn("{}:{}: not a metrics record; dropped", file_.string(), number);
        return;
      }
      const auto step = object["step"].get<std::int64_t>();
      const auto kind = object["kind"].get<std::string>();
      // What ended goes on.
      if (step > *resumed_step || kind == "end" || !kept_.emplace(kind, step).second) return;
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
  if (!kept_.contains({"train", metrics.step})) append(to_jsonl(metrics));
}

void JsonlSink::system(const StepMetrics& metrics) {
  if (!kept_.contains({"system", metrics.step})) append(system_to_jsonl(metrics));
}

void JsonlSink::evaluation(const EvalMetrics& metrics) {
  if (!kept_.contains({"eval", metrics.step})) append(to_jsonl(metrics));
}

void JsonlSink::end(const EndMetrics& metrics) {
  append(to_jsonl(metrics));
  sync_path(file_);
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
