#include "train/data_setup.hpp"

#include <unistd.h>

#include <cstdlib>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/strings.hpp"
#include "data/column_mapping.hpp"
#include "data/preview.hpp"
#include "io/folder_kind.hpp"
#include "io/hub.hpp"

namespace lorica::train {
namespace {

std::filesystem::path default_cache() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg != '\0')
    return std::filesystem::path(xdg) / "lorica";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
    return std::filesystem::path(home) / ".cache" / "lorica";
  return {};
}

std::vector<data::DataSource> sources(const std::vector<std::string>& names, const std::string& path) {
  std::vector<data::DataSource> result;
  for (const auto& name : names) result.push_back({name, path});
  return result;
}

}  // namespace

data::DataOptions data_options(const config::Config& config) {
  data::DataOptions options;
  options.sources = sources(config.dataset, config.dataset_path);
  options.eval_sources = sources(config.eval_dataset, "");
  options.format = config.dataset_format;
  options.column_mapping = data::parse_column_mapping(config.column_mapping);
  options.ignore_columns = config.ignore_columns;
  options.train_on = config.train_on;
  options.truncation = config.truncation;
  options.context_length = config.context_length;
  options.skip_bad_rows = config.skip_bad_rows;
  if (config.dataset_samples > 0) options.dataset_samples = config.dataset_samples;
  options.seed = static_cast<std::uint64_t>(config.seed);
  options.eval_fraction = config.eval_fraction;
  const auto hub = io::hub_cache_folder();
  options.hub_caches = {hub, hub.parent_path() / "datasets"};
  options.cache_folder =
      config.tokenizer_cache.empty() ? default_cache() : std::filesystem::path(config.tokenizer_cache);
  return options;
}

data::SamplerOptions sampler_options(const config::Config& config) {
  data::SamplerOptions options;
  options.batch_size = config.batch_size;
  options.accumulation = config.gradient_accumulation_steps;
  options.packing = config.packing;
  options.context_length = config.context_length;
  options.shuffle = config.shuffle;
  options.reshuffle = config.reshuffle;
  options.seed = static_cast<std::uint64_t>(config.seed);
  return options;
}

TrainingData load_data(const config::Config& config) {
  TrainingData result;
  result.tokenizer =
      std::make_unique<tokenizer::Tokenizer>(tokenizer::Tokenizer::load(io::find_base_model(config.model_name)));
  result.encoder = std::make_unique<data::TokenizerEncoder>(*result.tokenizer);
  data::DataReport report, eval_report;
  auto options = data_options(config);
  options.chat_template = result.tokenizer->chat_template();
  auto loaded = data::load_train_and_eval(options, *result.encoder, report, eval_report);
  result.account = report.account();
  result.account.add(eval_report.account());
  result.account.add(result.tokenizer->account());
  result.train = std::move(loaded.train);
  result.eval = std::move(loaded.eval);
  if (config.eval_samples > 0 && result.eval.size() > config.eval_samples) {
    std::vector<std::int64_t> first(static_cast<std::size_t>(config.eval_samples));
    for (std::size_t i = 0; i < first.size(); ++i) first[i] = static_cast<std::int64_t>(i);
    result.eval = result.eval.select(first);
  }
  if (!report.files.empty()) result.row_format = report.files.front().format;
  spdlog::info("{}", trim(report.text()));
  if (!config.eval_dataset.empty()) spdlog::info("evaluation data: {}", trim(eval_report.text()));
  if (config.eval_fraction > 0) {
    spdlog::info("held out for evaluation: {} of {} examples (eval_fraction {})", format_count(result.eval.size()),
                 format_count(result.eval.size() + result.train.size()), config.eval_fraction);
  }
  if (config.preview) {
    spdlog::info("the first examples (marked tokens carry loss):\n{}",
                 trim(data::render_preview(result.train, *result.encoder, 2, ::isatty(STDERR_FILENO) != 0)));
  }
  return result;
}

void check_token_ids(const data::TokenizedDataset& dataset, std::int64_t vocabulary,
                     const tokenizer::Tokenizer& tokenizer) {
  if (tokenizer.vocabulary_size() <= vocabulary) return;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    for (const auto id : dataset.example(i).tokens) {
      if (id >= vocabulary) {
        raise<DataError>(
            "{}: token {} ('{}') is beyond the model's embedding of {} rows: the tokenizer has more entries than "
            "the model. Use the tokenizer that belongs to this model, or resize the embedding first.",
            dataset.origin(i), id, tokenizer.token(id).value_or("?"), vocabulary);
      }
    }
  }
}

}  // namespace lorica::train
