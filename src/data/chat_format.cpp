#include "data/chat_format.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace lorica::data {

void check_chat_format(const DataOptions& options, const std::string& file) {
  if (options.format != DatasetFormat::automatic || options.chat_template.empty()) return;
  raise<DataError>(
      "{}: its rows are conversations, and the model has a chat template, which Lorica doesn't interpret yet. Trained "
      "in "
      "another format, the model would answer in one that no chat program uses. Render the rows to a column text with "
      "the template (tokenizer.apply_chat_template) and train on that; or give --dataset_format messages to train in "
      "Lorica's plain format all the same (\"### User:\", \"### Assistant:\"; generate --prompt_template chat uses "
      "it).",
      file);
}

void account_for_chat_format(const DataOptions& options, const DataReport& report, Account& account) {
  const auto is_chat = [](const FileReport& file) { return file.format == config::name_of(DatasetFormat::messages); };
  if (options.chat_template.empty() || std::none_of(report.files.begin(), report.files.end(), is_chat)) return;
  account.leave_aside(Account::Kind::metadata, "the tokenizer", "chat_template",
                      "dataset_format messages asks for the plain format (\"### User:\", \"### Assistant:\"), which "
                      "generate --prompt_template chat uses");
}

}  // namespace lorica::data
