// Gradient clipping by the global norm, as torch.nn.utils.clip_grad_norm_ does it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "optim/optimizer.hpp"

namespace lorica::optim {

/// Sum of squares of all gradients, squared in float32 or better and added up in float64. Undefined gradients count as
/// 0. Shards and pipeline stages add these up before taking the root. Not finite when a gradient isn't.
double squared_gradient_norm(std::span<const TrainableParameter> parameters);

/// The first parameter whose gradient holds an infinity or NaN; "" when all are finite.
std::string first_non_finite(std::span<const TrainableParameter> parameters);

/// Multiplies every gradient by min(1, max_norm / (norm + 1e-6)). Does nothing when that is 1.
void scale_gradients(std::span<TrainableParameter> parameters, double norm, double max_norm);

/// Throws the TrainingError of a gradient norm that is not finite; `name`: the tensor that is to blame, or "" if each
/// is finite.
[[noreturn]] void raise_non_finite(const std::string& name, double norm);

}  // namespace lorica::optim
