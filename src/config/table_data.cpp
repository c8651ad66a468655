// Options of the data: which rows, how they become tokens and labels, how they are evaluated on.
#include "config/conditions.hpp"
#include "config/table_words.hpp"

namespace lorica::config {
namespace {

/// One pair of column_mapping under the name that peers have for it.
Option column(const char* name, std::vector<std::string> aliases, const char* target) {
  return {.name = name,
          .aliases = std::move(aliases),
          .group = kDataGroup,
          .commands = kData,
          .field = none(Type::text),
          .status = Status::derived,
          .inert = {target},
          .help = std::string("The same as column_mapping ") + target + "=..."};
}

std::vector<Option> dataset_options() {
  return {
      {.name = "dataset",
       .aliases = {"train_dataset", "dataset_name", "train_file", "data"},
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::dataset),
       .help =
           "What to train on: alpaca, alpaca_sample, dummy, guanaco, sql, orca_math; or files, folders and globs of "
           ".jsonl, .json, .parquet, .txt. Give it more than once for several; in TOML a list, or [[datasets]] "
           "tables with dataset_path"},
      {.name = "dataset_path",
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::dataset_path),
       .acts_when = {needs::named_dataset({"alpaca", "alpaca_sample", "guanaco", "sql", "orca_math"}),
                     needs::no_input_file()},
       .help = "File or folder that holds the rows of a data set that is given by name"},
      {.name = "dataset_samples",
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::dataset_samples),
       .range = at_least(1),
       .acts_when = {needs::named_dataset({"alpaca_sample", "dummy", "orca_math"}), needs::no_input_file()},
       .help = "Rows of alpaca_sample, dummy and orca_math; other data sets are used whole"},
      {.name = "dataset_format",
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::dataset_format),
       .choices = names_of<DatasetFormat>(),
       .acts_when = {needs::no_input_file()},
       .help =
           "Columns of a file's rows: text; instruction, input, output; prompt, completion; messages or "
           "conversations; question, answer; context, question, answer; text of ### Human: and ### Assistant: turns. "
           "auto looks at the first row. Conversations are written with the model's chat template, or, if messages is "
           "given, in a plain format"},
      {.name = "column_mapping",
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::column_mapping),
       .commas = true,
       .pairs = true,
       .acts_when = {needs::no_input_file()},
       .help =
           "Which columns of the data are read as which: prompt=question,completion=reply. On the left text, prompt, "
           "completion, instruction, input, output, system, history, question, answer, context or messages; a.b is b "
           "inside of a. In TOML a table, too"},
      {.name = "ignore_columns",
       .aliases = {"remove_columns"},
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::ignore_columns),
       .commas = true,
       .acts_when = {needs::no_input_file()},
       .help =
           "Columns, and keys of messages, to leave aside though they change what a row means (tools, weight, label "
           "...); without it such rows are refused"},
      column("text_column", {"dataset_text_field", "text_field", "text_key"}, "text"),
      column("prompt_column", {"prompt_field", "prompt_key"}, "prompt"),
      column("completion_column",
             {"completion_field", "response_column", "response_field", "response_key", "answer_column"}, "completion"),
      column("messages_column", {"messages_field", "messages_key", "conversation_column", "field_messages"},
             "messages"),
      {.name = "train_on",
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::train_on),
       .choices = names_of<TrainOn>({{TrainOn::completion, "completions"}}),
       .pipe_lite = "all",
       .acts_when = {needs::no_input_file()},
       .help = "Tokens that carry loss: those of the completion (text rows: all), or all"},
      {.name = "train_on_input",
       .aliases = {"train_on_inputs", "train_on_prompt"},
       .group = kDataGroup,
       .commands = kData,
       .field = none(Type::boolean),
       .status = Status::derived,
       .inert = {"false"},
       .help = "true is train_on all, false is train_on completion"},
      {.name = "completion_only_loss",
       .aliases = {"completion_only", "assistant_only_loss", "mask_prompt"},
       .group = kDataGroup,
       .commands = kData,
       .field = none(Type::boolean),
       .status = Status::derived,
       .inert = {"true"},
       .help = "true is train_on completion, false is train_on all"},
      {.name = "context_length",
       .aliases = {"sequence_len", "max_seq_length", "max_length", "max_seq_len", "cutoff_len", "model_max_length"},
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::context_length),
       .range = between(2, 1 << 24),
       .evolved = "2048",
       .acts_when = {needs::no_input_file()},
       .help = "Most tokens of an example, and of a packed micro-batch per unit of batch_size"},
      {.name = "truncation",
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::truncation),
       .choices = names_of<Truncation>(),
       .pipe_lite = "split",
       .acts_when = {needs::no_input_file()},
       .help = "An example longer than context_length: cut it, leave it out, stop, or make several of it. Always "
               "counted and reported"},
      {.name = "packing",
       .aliases = {"sample_packing", "pack", "neat_packing"},
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::packing),
       .pipe_lite = "true",
       .acts_when = {needs::no_input_file()},
       .help = "Fill micro-batches with examples up to context_length x batch_size tokens; no example sees another"},
      {.name = "document_attention",
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::document_attention),
       .choices = names_of<DocumentAttention>({}, {"shared"}),
       .help = "isolated: attention and positions restart in every example"},
      {.name = "skip_bad_rows",
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::skip_bad_rows),
       .acts_when = {needs::no_input_file()},
       .help = "Count and skip rows that can't be read; without it the first one is an error"},
      {.name = "shuffle",
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::shuffle),
       .acts_when = {needs::no_input_file()},
       .help = "Seeded random order; false: the order of the files"},
      {.name = "reshuffle",
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::reshuffle),
       .acts_when = {needs::that(
           "shuffle", [](const Config& c) { return c.shuffle; }, "with shuffle false: the order is that of the files")},
       .help = "A new order every epoch, from seed and epoch; false: one order for all"},
      {.name = "tokenizer_cache",
       .aliases = {"cache_dir", "dataset_prepared_path"},
       .group = kDataGroup,
       .commands = kData,
       .field = of(&Config::tokenizer_cache),
       .acts_when = {needs::no_input_file()},
       .help = "Folder of tokenized data, found again by content; ~/.cache/lorica if not given"},
      {.name = "preview",
       .group = kDataGroup,
       .field = of(&Config::preview),
       .help = "Print a few examples at the start: tokens, and which of them carry loss"},
  };
}

/// qlora-pipe-lite's slicing of documents, to come.
std::vector<Option> later_options() {
  const auto later = [](const char* name, Type type, const char* inert, const char* help) {
    return Option{.name = name,
                  .group = kDataGroup,
                  .field = none(type),
                  .status = Status::not_built,
                  .inert = {inert},
                  .help = help};
  };
  return {
      later("max_tokens", Type::integer, "0", "Most tokens of one [[datasets]] table"),
      later("control_class", Type::integer, "1", "Class of a [[datasets]] table: -1, 0 or 1 (control adapters)"),
      later("max_sequences", Type::integer, "0", "Most sequences of the whole data set"),
      later("drop_tails", Type::boolean, "false", "Drop the rest of a document once a sequence is full"),
      later("mix_datasets", Type::boolean, "false", "Shuffle the documents of all data sets together before slicing"),
      later("sequence_prefix", Type::any, "", "Text or ids at the start of every sequence"),
      later("document_prefix", Type::any, "", "Text or ids before every document"),
      later("document_suffix", Type::any, "", "Text or ids after every document (now: the end-of-text token)"),
      later("mask_tokens", Type::any, "false", "Ids that never carry loss; true: all special tokens"),
      later("add_prefix_space", Type::boolean, "false", "Tokenize as if a space came first"),
  };
}

std::vector<Option> evaluation_options() {
  return {
      {.name = "eval_dataset",
       .aliases = {"validation_file", "eval_file"},
       .group = kEvaluation,
       .commands = kTrain,
       .field = of(&Config::eval_dataset),
       .help = "Files to evaluate on, as in dataset"},
      {.name = "eval_fraction",
       .group = kEvaluation,
       .field = of(&Config::eval_fraction),
       .range = {.low = 0, .high = 1, .high_open = true},
       .pipe_lite = "0.01",
       .help = "Share of the training rows held out for evaluation; 0: none"},
      {.name = "eval_steps",
       .aliases = {"steps_per_eval"},
       .group = kEvaluation,
       .field = of(&Config::eval_steps),
       .range = at_least(0),
       .acts_when = {needs::evaluation()},
       .help = "Evaluate every so many steps; 0: at the start and the end of every epoch"},
      {.name = "evals_per_epoch",
       .group = kEvaluation,
       .field = of(&Config::evals_per_epoch),
       .range = at_least(0),
       .pipe_lite = "10",
       .acts_when = {needs::evaluation()},
       .help = "Evaluate so often in an epoch; 0: eval_steps decides"},
      {.name = "eval_samples",
       .aliases = {"max_eval_samples"},
       .group = kEvaluation,
       .field = of(&Config::eval_samples),
       .range = at_least(0),
       .acts_when = {needs::evaluation()},
       .help = "Rows to evaluate on; 0: all"},
      {.name = "eval_gradient_accumulation_steps",
       .group = kEvaluation,
       .field = of(&Config::eval_gradient_accumulation_steps),
       .range = at_least(0),
       .acts_when = {needs::pipeline(), needs::evaluation()},
       .help = "Micro-batches that a pipeline evaluates at a time; 0: as many as in training. The loss is a mean over "
               "tokens, so this doesn't change it"},
      {.name = "per_device_eval_batch_size",
       .aliases = {"eval_batch_size"},
       .group = kEvaluation,
       .field = none(Type::integer),
       .status = Status::noted,
       .note = "evaluation runs in micro-batches of batch_size; the loss is a mean over tokens either way",
       .help = "Nothing to choose, as above"},
  };
}

}  // namespace

std::vector<Option> data_options() {
  auto all = dataset_options();
  for (auto&& part : {later_options(), evaluation_options()}) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace lorica::config
