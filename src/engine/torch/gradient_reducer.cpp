#include "engine/torch/gradient_reducer.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"
#include "engine/scope.hpp"
#include "engine/torch/parameter_store.hpp"
#include "model/scope.hpp"

namespace lorica::engine {
namespace {

using parallel::Range;

/// Elements of `tensor` that `shard` holds, within the flat chunk of one shard.
struct Part {
  std::int64_t offset = 0;  ///< in the chunk, elements
  Range rows;
  std::int64_t elements = 0;
};

Part part_of(const parallel::ShardLayout& layout, std::size_t tensor, const TrainedTensor& trained, int shard,
             std::int64_t element_size) {
  return {layout.chunk_offset(tensor) / element_size, parallel::unit_range(trained.shape.at(0), shard, layout.shards()),
          layout.slice(tensor, shard).count / element_size};
}

}  // namespace

std::size_t GradientReducer::add_group(std::vector<TrainedTensor> tensors) {
  Group group;
  const bool one_dtype = std::all_of(tensors.begin(), tensors.end(), [&](const TrainedTensor& tensor) {
    return tensor.dtype == tensors.front().dtype;
  });
  group.dtype = dtype_.value_or(one_dtype && !tensors.empty() ? tensors.front().dtype : at::kFloat);
  // A sum over replicas is made in the dtype that travels: it must not lose what the sum over shards kept.
  if (replicas_.size() > 1 && !dtype_) group.dtype = at::kFloat;
  const auto size = static_cast<std::int64_t>(c10::elementSize(group.dtype));
  std::vector<parallel::SplitTensor> splits;
  for (const auto& tensor : tensors) {
    std::int64_t elements = 1;
    for (const auto length : tensor.shape) elements *= length;
    const auto rows = tensor.shape.at(0);
    splits.push_back({rows, rows == 0 ? 0 : elements / rows * size, elements * size});
  }
  group.layout = parallel::ShardLayout(std::move(splits), shards_.size());
  group.whole.resize(tensors.size());
  group.local.resize(tensors.size());
  group.tensors = std::move(tensors);
  groups_.push_back(std::move(group));
  return groups_.size() - 1;
}

void GradientReducer::add(std::size_t group, std::size_t tensor, at::Tensor gradient) {
  auto& sum = groups_[group].whole[tensor];
  if (sum.defined()) {
    sum.add_(gradient);
  } else {
    sum = owned(std::move(gradient));
  }
}

/// All chunks, one after the other; zero where no gradient came.
at::Tensor GradientReducer::flatten(const Group& group) const {
  const auto size = static_cast<std::int64_t>(c10::elementSize(group.dtype));
  const auto chunk = group.layout.chunk_bytes() / size;
  auto flat = at::zeros({chunk * shards_.size()}, at::TensorOptions().dtype(group.dtype).device(device_));
  for (std::size_t i = 0; i < group.tensors.size(); ++i) {
    if (!group.whole[i].defined()) continue;
    for (int r = 0; r < shards_.size(); ++r) {
      const auto part = part_of(group.layout, i, group.tensors[i], r, size);
      flat.narrow(0, r * chunk + part.offset, part.elements)
          .copy_(group.whole[i].narrow(0, part.rows.begin, part.rows.count).reshape({-1}));
    }
  }
  return flat;
}

void GradientReducer::reduce(std::size_t number) {
  const model::Scope scope(scopes::kReduce);
  // Those under way go on meanwhile: the oldest is done by now.
  for (auto& flight : flights_) advance(flight);
  while (!flights_.empty() && flights_.front().done) flights_.pop_front();
  auto& group = groups_[number];
  if (group.tensors.empty()) return;
  Flight flight{number, flatten(group), {}, {}, shards_.size() == 1, false};
  for (auto& whole : group.whole) whole.reset();
  if (flight.over_replicas) {
    flight.mine = flight.all;
    flight.pending = replicas_.all_reduce(flight.mine);
  } else {
    flight.mine = at::empty({flight.all.numel() / shards_.size()}, flight.all.options());
    flight.pending = shards_.reduce_scatter(flight.mine, flight.all);
  }
  flights_.push_back(std::move(flight));
}

void GradientReducer::advance(Flight& flight) {
  if (flight.done) return;
  {
    const model::Scope scope(scopes::kAwaitReduce);
    flight.pending.wait();
  }
  flight.all.reset();
  if (!flight.over_replicas && replicas_.size() > 1) {
    flight.over_replicas = true;
    flight.pending = replicas_.all_reduce(flight.mine);
    return;
  }
  accumulate(flight);
  flight.done = true;
}

void GradientReducer::accumulate(const Flight& flight) {
  auto& group = groups_[flight.group];
  const auto size = static_cast<std::int64_t>(c10::elementSize(group.dtype));
  for (std::size_t i = 0; i < group.tensors.size(); ++i) {
    const auto part = part_of(group.layout, i, group.tensors[i], shards_.rank(), size);
    auto shape = group.tensors[i].shape;
    shape[0] = part.rows.count;
    const auto mine = flight.mine.narrow(0, part.offset, part.elements).view(shape).to(group.tensors[i].dtype);
    auto& sum = group.local[i];
    if (sum.defined()) {
      sum.add_(mine);
    } else {
      sum = mine;
    }
  }
}

void GradientReducer::finish() {
  while (!flights_.empty()) {
    for (auto& flight : flights_) advance(flight);
    while (!flights_.empty() && flights_.front().done) flights_.pop_front();
  }
}

void GradientReducer::set_local(std::size_t group, std::size_t tensor, at::Tensor gradient) {
  groups_[group].local[tensor] = std::move(gradient);
}

void GradientReducer::clear() {
  for (auto& group : groups_) {
    for (auto* list : {&group.whole, &group.local}) {
      for (auto& tensor : *list) tensor.reset();
    }
  }
}

std::uint64_t GradientReducer::bytes() const {
  std::uint64_t total = 0;
  for (const auto& group : groups_) {
    for (const auto* list : {&group.whole, &group.local}) {
      for (const auto& tensor : *list) total += tensor.defined() ? tensor.nbytes() : 0;
    }
  }
  return total;
}

}  // namespace lorica::engine
