// The fields of a run's records, each once: its key in metrics.jsonl, its tag in TensorBoard, its meaning. Both
// writers, the reader and docs/METRICS.md follow from these tables, so that none can differ from another.
#pragma once

#include <span>
#include <variant>

#include "train/metrics/metrics.hpp"

namespace lorica::train {

/// Which records of a step hold the field.
enum class Part {
  training,  ///< "train" alone: thinned by log_every_n_steps
  both,      ///< "train" and "system"
  timing     ///< both, in the object "timing": what the clock or the machine decides
};

template <class Record>
struct Field {
  using Member = std::variant<std::int64_t Record::*, std::uint64_t Record::*, double Record::*,
                              std::optional<double> Record::*, std::string Record::*>;
  const char* key;
  Member member;
  Part part;
  const char* tag;   ///< TensorBoard; "": not there
  double tag_scale;  ///< a tag's value = the field's times this
  const char* meaning;
};

std::span<const Field<StepMetrics>> step_fields();
/// Of the object "start" in "timing".
std::span<const Field<StartMetrics>> start_fields();
std::span<const Field<EvalMetrics>> eval_fields();
std::span<const Field<EndMetrics>> end_fields();

/// The tables of docs/METRICS.md: one for each kind of record.
std::string fields_markdown();

}  // namespace lorica::train
