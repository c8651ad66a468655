// The folder of a run: choosing it, refusing one that is taken, finding what to resume from, and the final model in it.
#pragma once

#include <filesystem>
#include <string>

#include "base/account.hpp"
#include "config/config.hpp"
#include "data/dataset.hpp"
#include "engine/engine.hpp"

namespace lorica::train {

/// Throws FileError, naming `option`, if nothing could be written at `path` (or, while it doesn't exist, at its nearest
/// parent).
void check_writable(const std::filesystem::path& path, const char* option);

/// The folder that this run writes to; nothing is created yet. A new run: output_dir, or a time-stamped folder in it. A
/// resumed one: the folder of the checkpoint. Throws ConfigError if it holds another run (and neither resume nor
/// overwrite_output_dir is given), FileError if it can't be written to.
std::filesystem::path choose_run_folder(const config::Config& config);

/// The checkpoint that --resume means. Throws ConfigError if there is none.
std::filesystem::path find_checkpoint(const config::Config& config, const std::filesystem::path& run_folder);

/// Creates the folder, clears it of an overwritten run or of a killed one's leftovers, and writes config.toml.
void prepare_run_folder(const config::Config& config, const std::filesystem::path& run_folder);

/// Says what of the run's inputs was left aside, and writes it to account.json.
void record_account(const Account& account, const std::filesystem::path& run_folder);

/// Logs the options that differ from those that the run was started with.
void warn_of_changes(const config::Config& config, const std::filesystem::path& run_folder);

/// Saves run_folder/final and reads it back: its logits on `probe` must equal the live model's, and if something was
/// trained it must not be an adapter that adds nothing. Throws Error otherwise.
/// Collective over `world` (null: one process).
void save_final(engine::Engine& engine, const std::filesystem::path& run_folder, const data::MicroBatch& probe,
                bool trained, parallel::World* world = nullptr);

/// "the last good checkpoint is …" for messages.
std::string last_good(const std::filesystem::path& run_folder);

/// Where the example with this id comes from ("file.jsonl:12").
std::string origin_of(const data::TokenizedDataset& dataset, std::int64_t example_id);

}  // namespace lorica::train
