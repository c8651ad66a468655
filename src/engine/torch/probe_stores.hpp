// Stores for checking what was saved: a few tokens go through weights that are read from disk block by block, so that a
// check never needs a second model's memory.
#pragma once

#include <memory>
#include <optional>

#include "engine/torch/block_loader.hpp"
#include "engine/torch/parameter_store.hpp"
#include "engine/torch/state_files.hpp"

namespace lorica::engine {

/// A store that forward passes alone may use: what training asks of one is an error of ours.
class ForwardStore : public ParameterStore {
 public:
  void release_after_backward(std::size_t block, bool last) override;
  void gradients_added(std::size_t block, bool last) override;
  void add_gradient(std::size_t block, const std::string& local_name, at::Tensor gradient) override;
  std::vector<optim::TrainableParameter> trainable() override;
  void set_gradient(const std::string& name, at::Tensor gradient) override;
  void clear_gradients() override {}
  Rows rows(const std::string& name) const override;
  at::Tensor whole(const std::string& name) override;
};

/// What a StreamedStore reads from; it keeps a copy, so that the loader's references stay good.
struct StreamedSource {
  config::Config config;
  std::shared_ptr<const BaseModel> base;
  std::optional<AdapterPlan> plan;
  at::Device device = at::kCPU;
};

/// A model that stays on disk: acquire() loads a block (quantized, with its adapter, as training would), release()
/// drops it. For one process.
class StreamedStore : public ForwardStore {
 public:
  /// `groups` and `layouts`: by block.
  StreamedStore(StreamedSource source, std::vector<ParameterGroup> groups, std::vector<BlockLayout> layouts);
  void prefetch(std::size_t) override {}
  model::BlockWeights acquire(std::size_t block) override;
  void release(std::size_t) override {}
  void finish_step() override {}
  bool collective() const override { return false; }
  const std::vector<Parameter>& parameters() const override { return none_; }
  const BlockLayout& layout(std::size_t block) const override { return layouts_.at(block); }
  StoreBytes bytes() const override { return {}; }

 private:
  StreamedSource source_;
  BlockLoader loader_;
  std::vector<ParameterGroup> groups_;
  std::vector<BlockLayout> layouts_;
  std::vector<Parameter> none_;
};

/// Another store whose trained tensors are replaced, while a block is acquired, by those of a saved folder; each is
/// compared with the live one as it comes.
class ReadBackStore : public ForwardStore {
 public:
  ReadBackStore(ParameterStore& live, const SavedState& saved) : live_(live), saved_(saved) {}
  void prefetch(std::size_t block) override { live_.prefetch(block); }
  model::BlockWeights acquire(std::size_t block) override;
  void release(std::size_t block) override { live_.release(block); }
  void finish_step() override { live_.finish_step(); }
  bool collective() const override { return live_.collective(); }
  const std::vector<Parameter>& parameters() const override { return live_.parameters(); }
  const BlockLayout& layout(std::size_t block) const override { return live_.layout(block); }
  StoreBytes bytes() const override { return live_.bytes(); }

  /// The first parameter of an acquired block that was saved with other bits than it has; "" if none was.
  const std::string& differing() const { return differing_; }

 private:
  ParameterStore& live_;
  const SavedState& saved_;
  std::string differing_;
};

}  // namespace lorica::engine
