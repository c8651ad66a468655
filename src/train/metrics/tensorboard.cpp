#include "train/metrics/tensorboard.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <type_traits>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/strings.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

constexpr std::string_view kFilePrefix = "events.out.tfevents.";

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78U : 0U);
    table[i] = value;
  }
  return table;
}

/// TFRecord's masking: a checksum of data that holds checksums would otherwise be weak.
std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8U;
}

template <class T>
void put_fixed(std::string& out, T value) {
  static_assert(std::endian::native == std::endian::little);
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

// Protocol-buffer wire format: a key is (field number << 3 | wire type), integers are base-128 varints.
void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}
void put_key(std::string& out, int field, int wire_type) {
  put_varint(out, static_cast<std::uint64_t>(field << 3 | wire_type));
}
void put_varint_field(std::string& out, int field, std::uint64_t value) {
  put_key(out, field, 0);
  put_varint(out, value);
}
void put_double_field(std::string& out, int field, double value) {
  put_key(out, field, 1);
  put_fixed(out, value);
}
void put_bytes_field(std::string& out, int field, std::string_view bytes) {
  put_key(out, field, 2);
  put_varint(out, bytes.size());
  out.append(bytes);
}
void put_float_field(std::string& out, int field, float value) {
  put_key(out, field, 5);
  put_fixed(out, value);
}

/// Event { wall_time = 1; step = 2; … }
std::string event_head(std::int64_t step) {
  std::string event;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  put_double_field(event, 1, std::chrono::duration<double>(now).count());
  put_varint_field(event, 2, static_cast<std::uint64_t>(step));
  return event;
}

/// Seconds for the file's name: now, or later if the folder already has a file of now (TensorBoard reads in the order
/// of the names, and a restart must come after what it takes back).
std::int64_t file_time(const fs::path& folder) {
  auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with(kFilePrefix)) continue;
    const auto digits = split(std::string_view(name).substr(kFilePrefix.size()), '.').front();
    if (digits.empty() || digits.size() > 12 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    seconds = std::max<std::int64_t>(seconds, std::stoll(digits) + 1);
  }
  return seconds;
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  return replace_all(name, "/", "_");
}

/// The values of the fields that have a tag and were measured.
template <class Record>
std::vector<std::pair<std::string, double>> tagged_values(const Record& record, std::span<const Field<Record>> fields,
                                                          std::initializer_list<Part> parts) {
  std::vector<std::pair<std::string, double>> values;
  for (const auto& field : fields) {
    if (*field.tag == '\0' || std::find(parts.begin(), parts.end(), field.part) == parts.end()) continue;
    std::visit(
        [&](auto member) {
          const auto& value = record.*member;
          using Value = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::is_same_v<Value, std::optional<double>>) {
            if (value) values.emplace_back(field.tag, *value * field.tag_scale);
          } else if constexpr (!std::is_same_v<Value, std::string>) {
            values.emplace_back(field.tag, static_cast<double>(value) * field.tag_scale);
          }
        },
        field.member);
  }
  return values;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = make_table();
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char c : bytes) crc = kTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

EventFile::EventFile(const fs::path& folder) {
  create_folder(folder);
  path_ = folder / fmt::format("{}{:010}.{}.{}", kFilePrefix, file_time(folder), host_name(), ::getpid());
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) raise<FileError>("{}: can't create the file: {}", path_.string(), std::strerror(errno));
  auto event = event_head(0);
  put_bytes_field(event, 3, "brain.Event:2");  // file_version
  record(event);
}

EventFile::~EventFile() {
  if (fd_ >= 0) ::close(fd_);
}

void EventFile::scalars(std::int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, number] : values) {
    std::string value;  // Summary.Value { tag = 1; simple_value = 2; }
    put_bytes_field(value, 1, tag);
    put_float_field(value, 2, static_cast<float>(number));
    put_bytes_field(summary, 1, value);
  }
  auto event = event_head(step);
  put_bytes_field(event, 5, summary);
  record(event);
}

void EventFile::restart(std::int64_t step) {
  std::string session;
  put_varint_field(session, 1, 1);  // SessionLog { status = START; }
  auto event = event_head(step);
  put_bytes_field(event, 7, session);
  record(event);
}

void EventFile::record(std::string_view event) {
  std::string bytes;
  put_fixed(bytes, static_cast<std::uint64_t>(event.size()));
  put_fixed(bytes, masked_crc(bytes));
  bytes.append(event);
  put_fixed(bytes, masked_crc(event));
  std::string_view left = bytes;
  while (!left.empty()) {
    const auto count = ::write(fd_, left.data(), left.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      raise<FileError>("{}: can't write the file: {}. Free some space; the run can be resumed.", path_.string(),
                       std::strerror(errno));
    }
    left.remove_prefix(static_cast<std::size_t>(count));
  }
}

TensorBoardSink::TensorBoardSink(const fs::path& folder, std::optional<std::int64_t> resumed_step) : file_(folder) {
  // A new run in a folder that held another one takes back everything.
  file_.restart(resumed_step ? *resumed_step + 1 : 0);
}

void TensorBoardSink::step(const StepMetrics& metrics) {
  scalars(metrics, {Part::training, Part::both, Part::timing});
}

void TensorBoardSink::system(const StepMetrics& metrics) {
  scalars(metrics, {Part::both, Part::timing});
}

void TensorBoardSink::scalars(const StepMetrics& metrics, std::initializer_list<Part> parts) {
  file_.scalars(metrics.step, tagged_values(metrics, step_fields(), parts));
}

void TensorBoardSink::evaluation(const EvalMetrics& metrics) {
  file_.scalars(metrics.step, tagged_values(metrics, eval_fields(), {Part::both, Part::timing}));
}

}  // namespace lorica::train
