// Optimizers over a flat list of trainable tensors: AdamW, Adam, SGD and Adadelta with PyTorch's arithmetic, in place
// and without an autograd graph.
//
// Each formula follows torch.optim's single-tensor path operation by operation (the order of decay, bias correction and
// eps), so 50 updates agree with it to float rounding. State has the parameter's dtype and device, as PyTorch's has.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lorica::optim {

struct TrainableParameter {
  std::string name;     ///< unique and stable from run to run: the key of its state in a checkpoint
  at::Tensor value;     ///< any shape, floating point; updated in place
  at::Tensor gradient;  ///< the same shape; undefined = untouched this step, as torch.optim skips a grad of None
  bool decay = true;    ///< false: weight decay leaves it alone
};

enum class OptimizerType { adamw, adam, sgd, adadelta };

/// "adamw", "adam", "sgd", "adadelta".
const std::vector<std::string>& optimizer_names();
std::string_view optimizer_name(OptimizerType type);
/// Throws ConfigError that lists the names when there is no such optimizer.
OptimizerType parse_optimizer(std::string_view name);

struct OptimizerOptions {
  OptimizerType type = OptimizerType::adamw;
  double beta1 = 0.9;    ///< adamw, adam
  double beta2 = 0.999;  ///< adamw, adam
  double epsilon = 1e-8;
  double weight_decay = 0.0;  ///< adamw: decoupled (Loshchilov, Hutter 2019); the others: added to the gradient
  double momentum = 0.0;      ///< sgd
  double rho = 0.9;           ///< adadelta

  /// PyTorch's defaults of that type (adamw: weight decay 0.01; adadelta: epsilon 1e-6).
  static OptimizerOptions defaults(OptimizerType type);
};

/// Throws ConfigError naming the option when a value is out of range (betas and rho in [0, 1), epsilon, weight decay,
/// momentum not negative).
void check_optimizer(const OptimizerOptions& options);

/// What a checkpoint holds of an optimizer.
struct OptimizerState {
  /// "<parameter>.<slot>" → the tensor itself (not a copy), in the order of the parameters. Slots: "exp_avg",
  /// "exp_avg_sq" (adamw, adam); "momentum_buffer" (sgd with momentum); "square_avg", "acc_delta" (adadelta).
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  /// Parameter → updates done to it.
  std::vector<std::pair<std::string, int64_t>> steps;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// One update of every parameter that has a gradient, at learning rate `rate`. State is made at a parameter's first
  /// update. Throws Error (ours) when a gradient's shape differs from its value's.
  virtual void step(std::span<TrainableParameter> parameters, double rate) = 0;

  virtual OptimizerState state() const = 0;
  /// Replaces the state by copies of `state`'s tensors, on the device and in the dtype of the parameter that each
  /// belongs to. Throws ModelError naming the tensor when one is missing, has the wrong shape, or belongs to no
  /// parameter.
  virtual void load_state(const OptimizerState& state, std::span<const TrainableParameter> parameters) = 0;

  /// Bytes of state now held.
  virtual int64_t memory_bytes() const = 0;
};

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options);

/// Bytes of state that an optimizer holds per parameter element, in units of the parameter's own element (adamw: 2).
int64_t state_slots(const OptimizerOptions& options);

}  // namespace lorica::optim
