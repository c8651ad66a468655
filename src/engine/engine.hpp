// What a training or generating program asks of a backend. One implementation over LibTorch (engine/torch); free of
// Torch itself, so that its users compile fast.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/account.hpp"
#include "config/config.hpp"
#include "data/micro_batch.hpp"

namespace lorica::parallel {
class World;
}

namespace lorica::engine {

/// A loss that has not been divided by anything yet.
struct LossSum {
  double loss = 0;          ///< Σ −log p over supervised tokens, nats
  std::int64_t tokens = 0;  ///< supervised tokens in the sum
};

struct UpdateResult {
  double gradient_norm = 0;  ///< global L2 norm before clipping
};

struct ModelFacts {
  std::string family;
  std::int64_t parameters = 0;  ///< of the base model, by its logical shapes
  std::int64_t trainable = 0;   ///< elements that the optimizer updates
  std::int64_t layers = 0;
  std::int64_t vocabulary = 0;  ///< rows of the embedding: token ids must be below
  std::int64_t max_positions = 0;
  std::vector<std::int64_t> eos_ids;  ///< of config.json
  std::string device;                 ///< "cpu", "cuda:0", …
  std::string storage;                ///< "nf4 (blocks of 64, double quantization)", "float32", …
  std::string compute;                ///< dtype of activations and products
  std::vector<std::string> adapted;   ///< module names that carry an adapter
  std::string recompute;              ///< what `--recompute` came to: "keep", "recompute", "selective"
  Account account;                    ///< files, tensors and keys of the base model and the adapter that nothing uses
};

/// Bytes that the engine holds, by purpose; of a sharded model, this process's part.
struct MemoryReport {
  std::uint64_t weights = 0, trainable = 0, gradients = 0, optimizer = 0;
  std::uint64_t gathered_peak = 0;  ///< the most that was held of other processes' parts
  std::uint64_t tensors = 0;        ///< what all tensors of the device hold; in host memory those of 128 KiB or more
  /// On a CUDA device, since the process began: the most that tensors had, and that LibTorch's allocator had taken for
  /// them. Elsewhere 0.
  std::uint64_t device_allocated_peak = 0, device_reserved_peak = 0;
};

/// What this process did for and with the others since it was made.
struct DistributionReport {
  int stage = 0, replica = 0, shard = 0;                  ///< its place
  std::uint64_t gathered = 0, reduced = 0, messages = 0;  ///< bytes sent: parameters, gradients, activations
  double gather_wait = 0;             ///< seconds that blocks waited for their parameters to be gathered
  double idle_share = 0, bubble = 0;  ///< of a step: waiting for other stages; in theory
};

/// A sampled continuation.
struct GenerationOptions {
  std::int64_t max_new_tokens = 128;
  double temperature = 0;  ///< 0: greedy
  std::int64_t top_k = 0;  ///< 0: all
  double top_p = 1;
  std::uint64_t seed = 0;
  std::vector<std::int32_t> stop_ids;  ///< generation ends when one of these is drawn; it is not part of the result
};

/// How a saved model compares with the live one.
struct SavedCheck {
  std::string differing;         ///< the first tensor that reads back with other bits; "": none
  std::int64_t tokens = 0;       ///< that logits were computed for
  double logits_difference = 0;  ///< the largest, absolute
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual ModelFacts facts() const = 0;
  virtual MemoryReport memory() const = 0;
  virtual DistributionReport distribution() const = 0;
  /// Floating-point operations of matrix products in one forward and backward pass over a micro-batch of these
  /// sequence lengths, as far as the method needs them (recomputation not counted).
  virtual double matrix_flops(const data::MicroBatch& batch) const = 0;

  /// All micro-batches of a step: adds the gradients of (summed loss) × loss_scale. `step` (updates done so far) keys
  /// dropout. One sum for each micro-batch; with pipeline stages the last one has them, the others return zeros.
  /// `early_lr` is for steps whose gradients won't be clipped: where the model's own weights are trained by one
  /// process, each is then updated with it as soon as its gradient is complete, which is dropped (a full model's
  /// gradients never exist all at once). optimizer_step() must follow with the same rate.
  virtual std::vector<LossSum> forward_backward(std::span<const data::MicroBatch> batches, double loss_scale,
                                                std::int64_t step, std::optional<double> early_lr = std::nullopt) = 0;
  /// forward_backward() for what it takes: changes nothing. `early`: as with an early_lr.
  virtual void rehearse(std::span<const data::MicroBatch> batches, std::int64_t step, bool early) = 0;
  /// Clips to `max_norm` if given (the norm is that of all gradients on all processes), applies the optimizer at
  /// learning rate `lr`, and clears the gradients. A gradient that is not finite is a TrainingError naming the tensor,
  /// before anything is changed; of early updates, those before it have been made.
  virtual UpdateResult optimizer_step(double lr, std::optional<double> max_norm) = 0;
  virtual std::vector<LossSum> evaluate(std::span<const data::MicroBatch> batches) = 0;

  /// float32 logits [tokens, vocabulary] of one micro-batch, row-major.
  virtual std::vector<float> logits(const data::MicroBatch& batch) = 0;
  /// Continues `prompt`; each drawn token goes to `on_token` (return false to stop).
  virtual std::vector<std::int32_t> generate(const std::vector<std::int32_t>& prompt, const GenerationOptions& options,
                                             const std::function<bool(std::int32_t)>& on_token) = 0;

  /// Writes the trained tensors into `folder` (which exists): a PEFT adapter, or for full fine-tuning a model folder's
  /// weights. Reads them back and compares; throws Error if they differ.
  virtual void save_model(const std::filesystem::path& folder) = 0;
  /// Trained tensors and optimizer state, exactly; restored by load_state. Throws ModelError when they don't fit this
  /// model.
  virtual void save_state(const std::filesystem::path& folder) = 0;
  virtual void load_state(const std::filesystem::path& folder) = 0;
  /// True if there is an adapter and it changes nothing: every B is zero, on every process.
  virtual bool adapter_is_zero() const = 0;
  /// Compares the live model with what save_model wrote into `folder`: every trained tensor bit for bit as it is read
  /// back, and the logits of `probe`'s first tokens. One block's tensors are held at a time, and the live model stays
  /// as it is. Throws Error for an adapter_config.json that reads back otherwise than it was written.
  virtual SavedCheck verify_saved(const std::filesystem::path& folder, const data::MicroBatch& probe) = 0;
};

/// What the engine is made for: generating needs no gradients or optimizer; a probe sends a few tokens through weights
/// that stay on disk, and holds one block of them at a time.
enum class Purpose { train, infer, probe };

/// Loads the model that `config` names onto its backend, with its weight format and adapter. Throws ConfigError,
/// ModelError, DeviceError. With a `world` of several processes they share the model, and all methods but facts(),
/// memory() and distribution() are collective: each process brings its own micro-batches, equally many, some of which
/// may be empty.
std::unique_ptr<Engine> make_engine(const config::Config& config, Purpose purpose, parallel::World* world = nullptr);

/// GFLOP/s of a float matrix product on this backend in the compute dtype, measured now (about a third of a second).
double measure_matrix_speed(const config::Config& config);

}  // namespace lorica::engine
