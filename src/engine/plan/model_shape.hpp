// A model as `lorica plan` sees it: sizes of its parameters by block, as they will be stored and trained, from
// config.json and the options alone.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "model/architecture.hpp"

namespace lorica::engine {

/// The kind of device that a plan is for; it needn't be in this machine.
enum class DeviceKind { cpu, cuda, mps };

/// Sizes in bytes of one number.
struct Widths {
  std::uint64_t stored = 4;       ///< dense base weights
  std::uint64_t compute = 4;      ///< activations and products
  std::uint64_t adapter = 4;      ///< trained parts of an adapter
  std::uint64_t wide = 4;         ///< gate and up, where they are kept for backward (selective)
  bool products_in_place = true;  ///< products read quantized and 16-bit weights as they are (our CPU kernels)
};

struct TensorShape {
  std::uint64_t elements = 0, bytes = 0;
  bool trained = false;
};

struct BlockShape {
  model::BlockSpec::Kind kind = model::BlockSpec::Kind::decoder;
  std::int64_t layer = -1;                                      ///< of a decoder layer
  double product_flops = 0;                                     ///< of its matrix products, forward, a row
  std::vector<TensorShape> tensors;                             ///< its own; the embedding holds a tied head's
  std::uint64_t frozen = 0, trained = 0, trained_elements = 0;  ///< bytes, bytes, elements
  std::uint64_t largest_trained = 0;                            ///< bytes of one tensor
  std::uint64_t largest_dense = 0;  ///< elements of the largest linear weight that products can't read in place
  std::map<std::string, std::uint64_t> kept_inputs;  ///< linear modules whose input backward needs -> rank (0: whole)
  std::uint64_t bytes() const { return frozen + trained; }
  bool trains() const { return trained > 0; }
};

struct ModelShape {
  model::Architecture architecture;
  Account account;  ///< what of the base model's and the adapter's files nothing uses
  std::vector<BlockShape> blocks;
  Widths widths;
  bool full = false;              ///< every weight is trained
  bool ragged_attention = false;  ///< attention takes all sequences of a batch at once (our CPU kernel)
  bool fused_update = false;      ///< the optimizer makes no copies (our CPU kernel)
  /// The first block with anything trained: backward reaches it and those behind it.
  std::size_t first_trained() const;
};

/// Bytes of a block's gradients as they travel between processes; `copies`: the same shard is in several of them.
std::uint64_t travelling_bytes(const config::Config& config, const BlockShape& block, bool copies);

DeviceKind device_kind(const config::Config& config);
ModelShape describe_model(const config::Config& config, DeviceKind device);

}  // namespace lorica::engine
