// Whether what was saved is the model that was trained.
#pragma once

#include "engine/torch/executor.hpp"

namespace lorica::engine {

/// Engine::verify_saved. Beside the model it holds one block's trained tensors as they were read, and the logits of a
/// few tokens.
SavedCheck verify_saved(Model& model, Executor& executor, parallel::World* world, const std::filesystem::path& folder,
                        const data::MicroBatch& probe);

/// Tokens of a probe whose logits are compared: as many as need little memory for them.
std::int64_t probe_tokens(std::int64_t vocabulary);

}  // namespace lorica::engine
