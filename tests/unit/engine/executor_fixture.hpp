// A model with an executor whose gradients can be looked at.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/tiny_model.hpp"
#include "engine/torch/executor.hpp"

namespace lorica::test {

using Gradients = std::map<std::string, at::Tensor>;

/// Low-rank pairs start with B = 0, for which A has no gradient: gives every B values, as if trained for a while.
inline void stir_adapter(engine::Model& model) {
  const at::NoGradGuard no_grad;
  std::uint64_t seed = 100;
  for (const auto& parameter : model.store->parameters()) {
    if (!parameter.name.ends_with(".lora_B.weight")) continue;
    parameter.stored->data().copy_(normal(parameter.stored->shape, seed++) * 0.1);
  }
}

struct Trainer {
  explicit Trainer(const config::Config& config, double dropout = 0,
                   config::Recompute policy = config::Recompute::recompute)
      : model(engine::build_model(config, engine::Purpose::train)) {
    stir_adapter(model);
    options.policy = policy;
    options.dropout = dropout;
    options.seed = 5;
    options.logits_bytes = 1 << 14;
  }

  engine::LossSum pass(const data::MicroBatch& batch, double scale = 1, std::int64_t step = 2) {
    return engine::Executor(model, options).forward_backward({&batch, 1}, scale, step).front();
  }
  Gradients gradients() const {
    Gradients found;
    for (const auto& parameter : model.store->trainable()) {
      if (parameter.gradient.defined()) found[parameter.name] = parameter.gradient.clone();
    }
    return found;
  }
  /// Gradients of these batches alone, with the sum of their losses.
  std::pair<engine::LossSum, Gradients> gradients_of(const std::vector<data::MicroBatch>& batches, double scale = 1) {
    model.store->clear_gradients();
    engine::LossSum total;
    for (const auto& sum : engine::Executor(model, options).forward_backward(batches, scale, 2)) {
      total.loss += sum.loss;
      total.tokens += sum.tokens;
    }
    return {total, gradients()};
  }
  at::Tensor value(const std::string& name) const {
    for (const auto& parameter : model.store->parameters()) {
      if (parameter.name == name) return parameter.stored->data();
    }
    ADD_FAILURE() << "no parameter " << name;
    return {};
  }

  engine::Model model;
  engine::ExecutorOptions options;
};

/// Each tensor by itself: a small one's error must not hide behind a large one.
inline void expect_same(const Gradients& found, const Gradients& expected, double tolerance) {
  EXPECT_EQ(found.size(), expected.size());
  for (const auto& [name, gradient] : expected) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_LT(relative_difference(found.at(name), gradient), tolerance) << name;
  }
}

}  // namespace lorica::test
