// Optimizers over a flat list of trainable tensors: AdamW, Adam, SGD and Adadelta with PyTorch's arithmetic, in place
// and without an autograd graph.
//
// Each formula follows torch.optim's single-tensor path operation by operation (the order of decay, bias correction and
// eps), so 50 updates agree with it to float rounding. State has the parameter's dtype and device, as PyTorch's has.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "config/vocabulary.hpp"

namespace lorica::optim {

using config::OptimizerKind;

struct TrainableParameter {
  std::string name;          ///< unique and stable from run to run: the key of its state in a checkpoint
  at::Tensor value;          ///< any shape, floating point; updated in place
  at::Tensor gradient = {};  ///< the same shape; undefined = untouched this step, as torch.optim skips a grad of None
  bool decay = true;         ///< false: weight decay leaves it alone
};

struct OptimizerOptions {
  OptimizerKind type = OptimizerKind::adamw;
  double beta1 = 0.9;    ///< adamw, adam
  double beta2 = 0.999;  ///< adamw, adam
  double epsilon = 1e-8;
  double weight_decay = 0.0;  ///< adamw: decoupled (Loshchilov, Hutter 2019); the others: added to the gradient
  double momentum = 0.0;      ///< sgd
  double rho = 0.9;           ///< adadelta

  /// PyTorch's defaults of that type (adamw: weight decay 0.01; adadelta: epsilon 1e-6).
  static OptimizerOptions defaults(OptimizerKind type);
};

/// Throws ConfigError naming the option when a value is out of range (betas and rho in [0, 1), epsilon, weight decay,
/// momentum not negative).
void check_optimizer(const OptimizerOptions& options);

/// What a checkpoint holds of an optimizer.
struct OptimizerState {
  /// "<parameter>.<slot>" (see slot_names) and the tensor itself, not a copy; in the order of the parameters.
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  /// Parameter and the updates done to it, 0 for one that never had a gradient.
  std::vector<std::pair<std::string, int64_t>> steps;
};

class Optimizer {
 public:
  /// Throws ConfigError as check_optimizer does.
  explicit Optimizer(const OptimizerOptions& options);

  /// One update of every parameter that has a gradient, at learning rate `rate`. State is made at a parameter's first
  /// update. Throws Error (ours) when a gradient's shape differs from its value's.
  void step(std::span<TrainableParameter> parameters, double rate);

  OptimizerState state() const;
  /// Replaces the state by `state`'s tensors, on the device and in the dtype of the parameter that each belongs to:
  /// those that nobody else holds are taken over, the others copied. An empty state is a fresh start. Throws ModelError
  /// naming the tensor when one is missing, has the wrong shape, or belongs to no parameter; the optimizer is then
  /// unchanged.
  void load_state(OptimizerState state, std::span<const TrainableParameter> parameters);

  /// Bytes of state now held.
  int64_t memory_bytes() const;
  const OptimizerOptions& options() const { return options_; }

 private:
  struct ParameterState {
    std::string name;
    int64_t steps = 0;
    std::vector<at::Tensor> slots;  // as slot_names() orders them; empty before the first update
  };
  ParameterState& state_of(const std::string& name);

  OptimizerOptions options_;
  std::vector<ParameterState> states_;  // in the order in which step() first saw them
  std::unordered_map<std::string, std::size_t> positions_;
};

/// The state tensors that an optimizer keeps for each parameter, each as large as the parameter itself: adamw and adam
/// "exp_avg", "exp_avg_sq"; sgd "momentum_buffer" or nothing; adadelta "square_avg", "acc_delta".
std::vector<std::string> slot_names(const OptimizerOptions& options);

}  // namespace lorica::optim
