// What conversations are written as: the one place that decides it.
#pragma once

#include <string>

#include "base/account.hpp"
#include "data/options.hpp"
#include "data/report.hpp"

namespace lorica::data {

/// `file` holds conversations. Throws DataError if they should be written with the model's chat template, which isn't
/// interpreted here: the model would learn a format that no chat program uses. dataset_format messages asks for the
/// plain format (data/templates.hpp) all the same.
void check_chat_format(const DataOptions& options, const std::string& file);

/// Says once, for data that hold conversations, what they were written as.
void account_for_chat_format(const DataOptions& options, const DataReport& report, Account& account);

}  // namespace lorica::data
