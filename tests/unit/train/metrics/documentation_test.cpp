// docs/METRICS.md says what the code writes: its tables are the code's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/files.hpp"
#include "train/metrics/fields.hpp"
#include "train/metrics/jsonl.hpp"
#include "train/metrics/progress_line.hpp"

namespace lorica::train {
namespace {

std::string document() {
  return read_file(std::filesystem::path(LORICA_DOCS) / "METRICS.md");
}

TEST(MetricsDocument, HasTheTablesOfTheRecordsAndOfTheProgressLine) {
  const auto text = document();
  EXPECT_NE(text.find(fields_markdown()), std::string::npos) << "docs/METRICS.md must hold:\n\n" << fields_markdown();
  EXPECT_NE(text.find(progress_markdown()), std::string::npos) << "docs/METRICS.md must hold:\n\n"
                                                               << progress_markdown();
}

/// Keys of a record, those inside as "timing.start.recompute".
void add_keys(const nlohmann::json& object, const std::string& inside, std::set<std::string>& keys) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      add_keys(value, inside + key + ".", keys);
    } else {
      keys.insert(inside + key);
    }
  }
}

/// The tables are complete: a record with everything that can be measured holds the documented keys and no other.
TEST(MetricsDocument, RecordsHoldTheDocumentedKeysAndNoOther) {
  StepMetrics step;
  step.grad_norm = step.matmul_share = step.peak_allocated_bytes = 1;
  step.start.emplace();
  const auto keys_of = [](const std::string& line) {
    std::set<std::string> keys;
    add_keys(nlohmann::json::parse(line), "", keys);
    return keys;
  };
  const auto documented = [](auto fields, bool training, std::set<std::string> keys) {
    keys.insert("kind");
    for (const auto& field : fields) {
      if (field.part != Part::training || training) {
        keys.insert((field.part == Part::timing ? "timing." : "") + std::string(field.key));
      }
    }
    return keys;
  };
  std::set<std::string> start;
  for (const auto& field : start_fields()) start.insert("timing.start." + std::string(field.key));
  EXPECT_EQ(keys_of(to_jsonl(step)), documented(step_fields(), true, start));
  EXPECT_EQ(keys_of(system_to_jsonl(step)), documented(step_fields(), false, start));
  EXPECT_EQ(keys_of(to_jsonl(EvalMetrics{})), documented(eval_fields(), true, {}));
  EXPECT_EQ(keys_of(to_jsonl(EndMetrics{})), documented(end_fields(), true, {}));
}

}  // namespace
}  // namespace lorica::train
