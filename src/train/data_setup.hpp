// From the configuration to tokenized data: the tokenizer, the training and evaluation examples, and what the log says
// of them.
#pragma once

#include <memory>
#include <string>

#include "base/account.hpp"
#include "config/config.hpp"
#include "data/dataset.hpp"
#include "data/sampler.hpp"
#include "data/tokenizer_encoder.hpp"
#include "tokenizer/tokenizer.hpp"

namespace lorica::train {

/// The configuration's values as the data layer names them.
data::DataOptions data_options(const config::Config& config);
data::SamplerOptions sampler_options(const config::Config& config);

struct TrainingData {
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  std::unique_ptr<data::TokenizerEncoder> encoder;
  data::TokenizedDataset train, eval;  ///< eval may be empty
  std::string row_format;              ///< of the first file's rows: "instruction", "text", …
  Account account;                     ///< what of rows and files was left aside; the caller says so
};

/// Loads the tokenizer of the model and all data, and logs what was read and cut. Throws DataError,
/// ConfigError.
TrainingData load_data(const config::Config& config);

/// Throws DataError, naming the example's origin, if a token is not below `vocabulary`.
void check_token_ids(const data::TokenizedDataset& dataset, std::int64_t vocabulary,
                     const tokenizer::Tokenizer& tokenizer);

}  // namespace lorica::train
