#include "engine/torch/pipeline_channel.hpp"

#include <ATen/ATen.h>

#include <chrono>

#include "base/error.hpp"
#include "engine/scope.hpp"
#include "model/scope.hpp"

namespace lorica::engine {

using parallel::Action;

namespace {

constexpr int kEndTag = (1 << 30) - 1;  // above those of all messages

}  // namespace

PipelineChannel::PipelineChannel(parallel::ProcessGroup* group, const parallel::Schedule& schedule, int stage,
                                 at::Device device)
    : group_(group), schedule_(schedule), stage_(stage), device_(device) {
  ensure(schedule.stages == 1 || (group != nullptr && group->size() == schedule.stages && group->rank() == stage),
         "stage {} of {} has no group of that size", stage, schedule.stages);
  // The stage before takes gradients in the order in which it gets them, and has no more micro-batches in flight than
  // that: with more gradients on their way, it has certainly received the oldest. Waiting for it frees its memory.
  most_gradients_ =
      static_cast<std::size_t>(schedule.most_in_flight((stage + schedule.stages - 1) % schedule.stages)) + 1;
}

int PipelineChannel::tag_of(const Message& message) const {
  const int parts = schedule_.stages * schedule_.chunks;
  return (message.micro_batch * parts + message.part) * 2 + (message.kind == Action::Kind::forward ? 0 : 1);
}

void PipelineChannel::wait(parallel::Pending& pending, std::string_view what) {
  const model::Scope scope(what);
  const auto start = std::chrono::steady_clock::now();
  pending.wait();
  waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void PipelineChannel::expect(const Message& message, at::Tensor buffer) {
  if (schedule_.stages == 1) return;
  const model::Scope scope(scopes::kExpect);
  const int part = message.kind == Action::Kind::forward ? message.part - 1 : message.part + 1;
  auto pending = group_->receive(buffer, part % schedule_.stages, tag_of(message));
  expected_[message] = {std::move(buffer), std::move(pending)};
}

at::Tensor PipelineChannel::receive(const Message& message) {
  if (schedule_.stages == 1) return std::move(local_.extract(message).mapped());
  auto node = expected_.extract(message);
  ensure(!node.empty(), "a message to part {} is not expected", message.part);
  wait(node.mapped().pending, scopes::kReceive);
  return std::move(node.mapped().buffer);
}

void PipelineChannel::send(const Message& message, at::Tensor tensor) {
  if (schedule_.stages == 1) {
    local_[message] = std::move(tensor);
    return;
  }
  const model::Scope scope(scopes::kSend);
  auto pending = group_->send(tensor.contiguous(), stage_of(message), tag_of(message));
  if (message.kind == Action::Kind::forward) {
    activations_[message] = std::move(pending);
    return;
  }
  gradients_.push_back(std::move(pending));
  if (gradients_.size() > most_gradients_) {
    wait(gradients_.front(), scopes::kAwaitSend);
    gradients_.pop_front();
  }
}

void PipelineChannel::settle(const Message& message) {
  auto node = activations_.extract(message);
  if (!node.empty()) wait(node.mapped(), scopes::kAwaitSend);
}

void PipelineChannel::flush() {
  for (auto& [message, pending] : activations_) wait(pending, scopes::kAwaitSend);
  for (auto& pending : gradients_) wait(pending, scopes::kAwaitSend);
  activations_.clear();
  gradients_.clear();
}

void PipelineChannel::announce_end() {
  if (schedule_.stages == 1 || stage_ != 0) return;
  const model::Scope scope(scopes::kSend);
  for (int stage = 1; stage < schedule_.stages; ++stage) {
    ends_.push_back(group_->send(at::zeros({1}, device_), stage, kEndTag));
  }
}

void PipelineChannel::await_end() {
  if (schedule_.stages > 1 && stage_ != 0) {
    auto pending = group_->receive(at::zeros({1}, device_), 0, kEndTag);
    wait(pending, scopes::kAwaitStages);
  }
  if (ends_.empty()) return;
  const model::Scope scope(scopes::kAwaitSend);
  for (auto& end : ends_) end.wait();
}

}  // namespace lorica::engine
