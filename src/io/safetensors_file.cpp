// Reading one safetensors file: 8 bytes of header length (little-endian), a JSON header, the tensors' bytes. The header
// is checked in full before anything points into the file.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.hpp"
#include "base/files.hpp"
#include "io/json.hpp"
#include "io/safetensors.hpp"

namespace lorica::io {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and is used in place");

using nlohmann::json;

// The reference implementation's limit: a longer header is an attack or a corrupt length.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";

/// The header's text. Checks the length field against the file.
std::string_view header_text(const MappedFile& file, const std::string& path) {
  const auto text = file.text();
  if (text.starts_with("version https://git-lfs")) {
    raise<ModelError>("{}: is a Git LFS pointer, not the weights. Fetch the file itself (git lfs pull).", path);
  }
  if (file.size() < 8) {
    raise<ModelError>("{}: not a safetensors file: {} bytes long, but the header length alone takes 8. Fetch it again.",
                      path, file.size());
  }
  std::uint64_t length;
  std::memcpy(&length, file.data(), sizeof length);
  if (length > file.size() - 8) {
    raise<ModelError>(
        "{}: the header claims {} bytes, but only {} follow it: the file is truncated or isn't safetensors. Fetch it "
        "again.",
        path, length, file.size() - 8);
  }
  if (length > kMaxHeaderBytes) raise<ModelError>("{}: a header of {} bytes is too long to be real", path, length);
  if (length < 2 || text[8] != '{') raise<ModelError>("{}: the header is no JSON object: not a safetensors file", path);
  return text.substr(8, static_cast<std::size_t>(length));
}

/// Parses the header; refuses a name that occurs twice (a plain parser would keep one of them silently) and deep
/// nesting.
json parse_header(std::string_view text, const std::string& path) {
  std::set<std::string> names;
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > 8) raise<ModelError>("{}: the header is nested too deeply", path);
    if (depth == 1 && event == json::parse_event_t::key && !names.insert(value.get<std::string>()).second) {
      raise<ModelError>("{}: the header names the tensor \"{}\" twice", path, value.get<std::string>());
    }
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::exception&) {
    const auto fault = find_json_fault(text).value_or(JsonFault{});
    raise<ModelError>("{}: malformed JSON in the header, at byte {}: {}. The file is corrupt; fetch it again.", path,
                      fault.offset + 8, fault.reason);
  }
}

std::map<std::string, std::string> parse_metadata(const json& value, const std::string& path) {
  if (!value.is_object()) raise<ModelError>("{}: \"{}\" of the header is no object", path, kMetadataKey);
  std::map<std::string, std::string> metadata;
  for (const auto& [key, item] : value.items()) {
    if (!item.is_string()) raise<ModelError>("{}: metadata \"{}\" is not a string", path, key);
    metadata[key] = item.get<std::string>();
  }
  return metadata;
}

std::uint64_t unsigned_item(const json& value, const std::string& path, const std::string& name, const char* what) {
  if (!value.is_number_unsigned()) {
    raise<ModelError>("{}: tensor \"{}\": {} holds a negative, fractional or overflowing number", path, name, what);
  }
  return value.get<std::uint64_t>();
}

/// Byte count of a shape; throws if it overflows.
std::uint64_t parse_shape(const json& value, TensorView& tensor, const std::string& path) {
  if (!value.is_array()) raise<ModelError>("{}: tensor \"{}\": shape is no list", path, tensor.name);
  std::uint64_t bytes = dtype_size(tensor.dtype);
  bool empty = false;
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  for (const auto& item : value) {
    const auto size = unsigned_item(item, path, tensor.name, "shape");
    if (size > kMost || (size > 0 && bytes > kMost / size)) {
      raise<ModelError>("{}: tensor \"{}\": its shape overflows 64 bits", path, tensor.name);
    }
    empty = empty || size == 0;
    if (size > 0) bytes *= size;
    tensor.shape.push_back(static_cast<std::int64_t>(size));
  }
  return empty ? 0 : bytes;
}

struct Entry {
  TensorView tensor;
  std::uint64_t begin = 0, end = 0;
};

Entry parse_entry(const std::string& name, const json& value, const std::string& path) {
  const auto field = [&](const char* key) -> const json& {
    if (!value.is_object() || !value.contains(key)) {
      raise<ModelError>("{}: tensor \"{}\" has no \"{}\" in the header", path, name, key);
    }
    return value[key];
  };
  Entry entry;
  entry.tensor.name = name;
  const auto& dtype = field("dtype");
  const auto known = dtype.is_string() ? parse_dtype(dtype.get<std::string>()) : std::nullopt;
  if (!known) {
    raise<ModelError>("{}: tensor \"{}\" has the element type {}, which Lorica doesn't know", path, name, dtype.dump());
  }
  entry.tensor.dtype = *known;
  const auto bytes = parse_shape(field("shape"), entry.tensor, path);
  const auto& offsets = field("data_offsets");
  if (!offsets.is_array() || offsets.size() != 2) {
    raise<ModelError>("{}: tensor \"{}\": data_offsets must be two numbers", path, name);
  }
  entry.begin = unsigned_item(offsets[0], path, name, "data_offsets");
  entry.end = unsigned_item(offsets[1], path, name, "data_offsets");
  if (entry.end < entry.begin) raise<ModelError>("{}: tensor \"{}\" ends before it begins", path, name);
  if (entry.end - entry.begin != bytes) {
    raise<ModelError>("{}: tensor \"{}\" takes {} bytes in the file, but its shape and type ({}) need {}", path, name,
                      entry.end - entry.begin, dtype_name(*known), bytes);
  }
  entry.tensor.bytes = static_cast<std::size_t>(bytes);
  return entry;
}

/// The tensors must tile the data exactly: every byte belongs to one tensor.
void check_layout(std::vector<Entry>& entries, std::uint64_t data_bytes, const std::string& path) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  std::uint64_t expected = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto& entry = entries[i];
    if (entry.end > data_bytes) {
      raise<ModelError>(
          "{}: tensor \"{}\" runs to byte {} of the data, but the file holds only {}: truncated. Fetch it again.", path,
          entry.tensor.name, entry.end, data_bytes);
    }
    if (entry.begin < expected) {
      raise<ModelError>("{}: tensors \"{}\" and \"{}\" overlap", path, entries[i - 1].tensor.name, entry.tensor.name);
    }
    if (entry.begin > expected) {
      raise<ModelError>("{}: {} bytes before tensor \"{}\" belong to no tensor", path, entry.begin - expected,
                        entry.tensor.name);
    }
    expected = entry.end;
  }
  if (expected != data_bytes) {
    raise<ModelError>("{}: {} bytes after the last tensor belong to no tensor: the file is corrupt", path,
                      data_bytes - expected);
  }
}

}  // namespace

std::int64_t TensorView::elements() const {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

struct SafetensorsFile::State {
  explicit State(const std::filesystem::path& file_path) : path(file_path), file(file_path) {}
  std::filesystem::path path;
  MappedFile file;
  std::map<std::string, TensorView> tensors;
  std::map<std::string, std::string> metadata;
};

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : state_(std::make_unique<State>(path)) {
  const auto& file = state_->file;
  const auto name = path.string();
  const auto text = header_text(file, name);
  const auto header = parse_header(text, name);
  std::vector<Entry> entries;
  for (const auto& [key, value] : header.items()) {
    if (key == kMetadataKey) {
      state_->metadata = parse_metadata(value, name);
    } else {
      entries.push_back(parse_entry(key, value, name));
    }
  }
  const std::size_t data_begin = 8 + text.size();
  check_layout(entries, file.size() - data_begin, name);
  for (auto& entry : entries) {
    entry.tensor.data = file.data() + data_begin + entry.begin;
    auto key = entry.tensor.name;
    state_->tensors.emplace(std::move(key), std::move(entry.tensor));
  }
}

SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

const std::filesystem::path& SafetensorsFile::path() const {
  return state_->path;
}
const std::map<std::string, TensorView>& SafetensorsFile::tensors() const {
  return state_->tensors;
}
const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return state_->metadata;
}

const TensorView* SafetensorsFile::find(const std::string& name) const {
  const auto found = state_->tensors.find(name);
  return found == state_->tensors.end() ? nullptr : &found->second;
}

void SafetensorsFile::release(const TensorView& tensor) const {
  if (tensor.bytes > 0) state_->file.release(static_cast<std::size_t>(tensor.data - state_->file.data()), tensor.bytes);
}

}  // namespace lorica::io
