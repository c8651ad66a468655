#include "data/dataset_builder.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "base/strings.hpp"
#include "data/chat_format.hpp"
#include "data/column_mapping.hpp"
#include "data/numpy_random.hpp"

namespace fs = std::filesystem;

namespace lorica::data {
namespace {

// A chunk is large enough to keep all threads busy and small enough not to be felt in memory.
constexpr std::size_t kChunkRows = 4096;
constexpr std::size_t kChunkBytes = std::size_t{4} << 20;

std::size_t text_bytes(const RawRow& row) {
  if (const auto* json = std::get_if<RawRow::Json>(&row.content)) return json->text.size();
  if (const auto* document = std::get_if<RawRow::Document>(&row.content)) return document->text.size();
  std::size_t bytes = 0;
  for (const auto& value : std::get<nlohmann::json>(row.content)) {
    bytes += value.is_string() ? value.get_ref<const std::string&>().size() : 256;
  }
  return bytes;
}

std::int64_t count_rows(const ResolvedSource& source) {
  std::int64_t rows = 0;
  for (const auto& file : source.files) {
    visit_rows(file, [&](RawRow&&) {
      ++rows;
      return true;
    });
  }
  return rows;
}

/// For each row of the source: its place in the selection's order, or -1.
std::vector<std::int64_t> selected_ranks(const ResolvedSource& source, std::int64_t rows) {
  const auto& selection = source.selection;
  const auto left = rows - selection.skip;
  if (left <= 0) {
    raise<DataError>("the data set '{}' leaves out its first {} rows, and only {} are there", source.name,
                     selection.skip, rows);
  }
  if (selection.exact && selection.first > left) {
    raise<DataError>("the data set '{}' has {} rows, but dataset_samples asks for {}", source.name, left,
                     selection.first);
  }
  const auto used = selection.first > 0 ? std::min(selection.first, left) : left;
  const auto order = numpy_permutation(*selection.shuffle_seed, rows);
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(rows), -1);
  for (std::int64_t i = 0; i < used; ++i) {
    ranks[static_cast<std::size_t>(order[static_cast<std::size_t>(selection.skip + i)])] = i;
  }
  return ranks;
}

}  // namespace

DatasetBuilder::DatasetBuilder(const DataOptions& options, const TextEncoder& encoder, TokenStoreWriter& writer,
                               DataReport& report)
    : options_(options), writer_(writer), report_(report), assembler_(options, encoder) {}

void DatasetBuilder::add(const ResolvedSource& source) {
  if (source.synthetic) return add_synthetic(source);
  std::vector<std::int64_t> ranks;
  if (source.selection.needs_count()) {
    needs_sorting_ = true;
    ranks = selected_ranks(source, count_rows(source));
  }
  std::int64_t row_number = 0;
  for (const auto& file : source.files) {
    if (ranks.empty() && source.selection.first > 0 && row_number >= source.selection.first) break;
    add_file(file, source, ranks, row_number);
  }
  flush();
  rank_base_ += static_cast<std::uint64_t>(row_number);
}

void DatasetBuilder::add_synthetic(const ResolvedSource& source) {
  const auto file = open_file(source.name, source);
  std::string output;
  for (std::int64_t i = 0; i < 2 * options_.context_length; ++i) output += "output";
  const nlohmann::json row = {{"instruction", "instruction"}, {"input", "input"}, {"output", output}};
  for (std::int64_t i = 0; i < options_.dataset_samples; ++i) {
    push({.content = row, .row = i + 1}, file, rank_base_ + static_cast<std::uint64_t>(i));
  }
  flush();
  rank_base_ += static_cast<std::uint64_t>(options_.dataset_samples);
}

void DatasetBuilder::add_file(const fs::path& path, const ResolvedSource& source,
                              const std::vector<std::int64_t>& ranks, std::int64_t& row_number) {
  const auto file = open_file(path.string(), source);
  const auto visitor = [&](RawRow&& row) {
    const auto number = row_number++;
    if (!ranks.empty()) {
      // The count and this pass read the same file; if somebody appended to it meanwhile, the new rows are not chosen.
      const auto rank = static_cast<std::size_t>(number) < ranks.size() ? ranks[static_cast<std::size_t>(number)] : -1;
      if (rank >= 0) push(std::move(row), file, rank_base_ + static_cast<std::uint64_t>(rank));
      return true;
    }
    push(std::move(row), file, rank_base_ + static_cast<std::uint64_t>(number));
    return source.selection.first == 0 || row_number < source.selection.first;
  };
  visit_rows(path, visitor, mapped_sources(*mappings_[file]), &report_.unused);
}

std::uint32_t DatasetBuilder::open_file(const std::string& name, const ResolvedSource& source) {
  static const std::vector<MappedColumn> none;
  const auto index = writer_.add_file(name);
  formats_.push_back(source.format);
  mappings_.push_back(source.named ? &none : &options_.column_mapping);
  pieces_.push_back(0);
  report_.files.push_back({.path = name, .format = std::string(config::name_of(source.format)), .rows = 0});
  return index;
}

nlohmann::json DatasetBuilder::columns_of(const RawRow& row, std::uint32_t file) const {
  auto columns = parse_row(row, report_.files[file].path);
  const bool has_names = !std::holds_alternative<RawRow::Document>(row.content);
  if (has_names && !mappings_[file]->empty()) apply_mapping(columns, *mappings_[file]);
  return columns;
}

void DatasetBuilder::push(RawRow&& row, std::uint32_t file, std::uint64_t rank) {
  ++report_.rows_read;
  ++report_.files[file].rows;
  if (!format_known(row, file)) return;
  pending_bytes_ += text_bytes(row);
  pending_.push_back({.row = std::move(row), .file = file, .rank = rank});
  if (pending_.size() >= kChunkRows || pending_bytes_ >= kChunkBytes) flush();
}

/// The first sound row of a file decides how the file is read. False if this row is not sound and was counted.
bool DatasetBuilder::format_known(const RawRow& row, std::uint32_t file) {
  if (formats_[file] != DatasetFormat::automatic) return true;
  try {
    formats_[file] = detect_format(columns_of(row, file), *mappings_[file], options_.ignore_columns);
  } catch (const BadRow& error) {
    count_bad(file, row, error);
    return false;
  }
  report_.files[file].format = config::name_of(formats_[file]);
  if (formats_[file] == DatasetFormat::messages) check_chat_format(options_, report_.files[file].path);
  return true;
}

void DatasetBuilder::flush() {
  const auto rendered = render_pending();
  for (std::size_t i = 0; i < rendered.size(); ++i) {
    if (rendered[i].fault) count_bad(pending_[i].file, pending_[i].row, *rendered[i].fault);
  }
  const auto rows = assemble(rendered);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rendered[i].fault) continue;
    count_unused(pending_[i], rendered[i].row.unused);
    record(pending_[i], rows[i]);
  }
  pending_.clear();
  pending_bytes_ = 0;
}

std::vector<DatasetBuilder::Rendered> DatasetBuilder::render_pending() const {
  std::vector<Rendered> rendered(pending_.size());
  parallel_for(static_cast<std::int64_t>(pending_.size()), 32, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const auto& [row, file, rank] = pending_[i];
      try {
        rendered[i].row = render_row(columns_of(row, file), formats_[file], options_);
      } catch (const BadRow& error) {
        rendered[i].fault = error;
      }
    }
  });
  return rendered;
}

std::vector<AssembledRow> DatasetBuilder::assemble(const std::vector<Rendered>& rendered) const {
  std::vector<AssembledRow> rows(rendered.size());
  parallel_for(static_cast<std::int64_t>(rendered.size()), 8, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      if (!rendered[i].fault) rows[i] = assembler_.assemble(rendered[i].row.segments);
    }
  });
  return rows;
}

void DatasetBuilder::record(const Pending& pending, const AssembledRow& row) {
  const auto where = [&] { return origin(pending.file, pending.row); };
  const auto with_length = [&] { return fmt::format("{}: {} tokens", where(), format_count(row.length)); };
  const bool is_document = std::holds_alternative<RawRow::Document>(pending.row.content);
  report_.longest_row = std::max(report_.longest_row, row.length);
  if (row.repeated_bos) report_.repeated_bos.add(where());
  if (row.truncated) {
    report_.truncated.add(with_length());
    report_.text_truncated |= is_document;
    report_.tokens_cut += row.tokens_cut;
    report_.ends_cut += row.end_cut;
  }
  if (row.split) report_.split.add(with_length());
  switch (row.fate) {
    case AssembledRow::Fate::empty:
      return report_.empty.add(where());
    case AssembledRow::Fate::unsupervised:
      return report_.unsupervised.add(row.truncated ? fmt::format("{}: the answer begins after context_length", where())
                                                    : where());
    case AssembledRow::Fate::dropped:
      return report_.dropped.add(with_length());
    case AssembledRow::Fate::too_long:
      raise<DataError>(
          "{}: {} tokens, but context_length is {}. Raise it, or set truncation to truncate, drop or split.", where(),
          row.length, options_.context_length);
    case AssembledRow::Fate::kept:
      break;
  }
  const RowPlace place{.row = static_cast<std::uint64_t>(pending.row.row),
                       .line = static_cast<std::uint64_t>(pending.row.line),
                       .shares_line = pending.row.shares_line};
  for (const auto& example : row.examples) {
    const auto tokens = static_cast<std::int64_t>(example.tokens.size());
    // A text has no rows to hold out, so its pieces count as such.
    const auto unit = is_document ? ++pieces_[pending.file] : place.row;
    writer_.add(example, pending.file, place, unit, pending.rank);
    ++report_.examples;
    report_.tokens += tokens;
    report_.supervised += example.labels();
    report_.longest_example = std::max(report_.longest_example, tokens);
  }
}

void DatasetBuilder::count_unused(const Pending& pending, const std::vector<std::string>& unused) {
  if (unused.empty() && pending.row.undecoded == nullptr) return;
  const auto& file = report_.files[pending.file];
  const auto leave = [&](const std::string& column) {
    const auto& ignored = options_.ignore_columns;
    const bool asked = std::find(ignored.begin(), ignored.end(), column) != ignored.end();
    report_.unused.leave_aside(
        Account::Kind::row, file.path, column,
        asked ? "as ignore_columns asks" : fmt::format("rows are read as {}, which has no such column", file.format));
  };
  for (const auto& column : unused) leave(column);
  if (pending.row.undecoded == nullptr) return;
  for (const auto& column : *pending.row.undecoded) leave(column);
}

void DatasetBuilder::count_bad(std::uint32_t file, const RawRow& row, const BadRow& fault) {
  const auto where = fault.line() > 0 && row.line > 0
                         ? fmt::format("{}:{}:{}", report_.files[file].path, fault.line(), fault.column())
                         : origin(file, row);
  const auto what = fmt::format("{}: {}", where, fault.what());
  if (!options_.skip_bad_rows) {
    raise<DataError>("{}. Or set skip_bad_rows to go on without such rows.", what);
  }
  report_.bad.add(what);
}

std::string DatasetBuilder::origin(std::uint32_t file, const RawRow& row) const {
  return row_origin(report_.files[file].path, {.row = static_cast<std::uint64_t>(row.row),
                                               .line = static_cast<std::uint64_t>(row.line),
                                               .shares_line = row.shares_line});
}

}  // namespace lorica::data
