#include "engine/torch/sharded_store.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "base/error.hpp"
#include "engine/scope.hpp"
#include "engine/torch/sharded_weight.hpp"
#include "model/scope.hpp"

namespace lorica::engine {

struct ShardedStore::Group {
  enum class State { apart, on_its_way, gathered };
  parallel::ShardLayout layout;
  at::Tensor chunk;
  // Null with one shard; staging also where the chunks are the whole as they come.
  std::unique_ptr<ReusableBuffer> whole, staging;
  ReusableBuffer& landing() { return staging ? *staging : *whole; }
  parallel::Pending gathering;
  State state = State::apart;
  int users = 0;
  std::size_t reducer_group = 0, first_block = 0;  // first_block: the last one that its backward comes by
  std::vector<std::string> names;
};

namespace {

at::Device device_of(const std::vector<ShardedGroup>& groups) {
  return groups.empty() ? at::Device(at::kCPU) : groups.front().chunk.device();
}

/// whole = the tensors put together from all chunks. The values come and go under tensors that a graph has saved, so
/// autograd must not count it as a change of them.
void assemble(const parallel::ShardLayout& layout, const at::Tensor& whole, const at::Tensor& chunks) {
  if (whole.is_cpu()) {
    auto* to = static_cast<std::uint8_t*>(whole.storage().mutable_data());
    return layout.assemble(to, chunks.const_data_ptr<std::uint8_t>());
  }
  const auto to = whole.variable_data();
  for (std::size_t i = 0; i < layout.tensors(); ++i) {
    for (int r = 0; r < layout.shards(); ++r) {
      const auto part = layout.slice(i, r);
      if (part.count == 0) continue;
      to.narrow(0, layout.whole_offset(i) + part.begin, part.count)
          .copy_(chunks.narrow(0, r * layout.chunk_bytes() + layout.chunk_offset(i), part.count));
    }
  }
}

}  // namespace

ShardedStore::ShardedStore(std::vector<ShardedGroup> groups, std::vector<BlockLayout> layouts,
                           parallel::ProcessGroup& gather, parallel::ProcessGroup& reduce,
                           parallel::ProcessGroup& replicas, const ShardingOptions& options)
    : gather_(gather),
      options_(options),
      reducer_(reduce, replicas, options.reduce_dtype, device_of(groups)),
      pool_(device_of(groups)),
      layouts_(std::move(layouts)) {
  for (auto& group : groups) add_group(std::move(group));
  groups_of_.resize(layouts_.size());
  for (std::size_t block = layouts_.size(); block-- > 0;) {
    std::set<std::size_t> used;
    for (const auto& [local, name] : layouts_[block].parameters) used.insert(place(name).group);
    groups_of_[block].assign(used.begin(), used.end());
    for (const auto group : used) groups_[group]->first_block = block;
  }
}

ShardedStore::~ShardedStore() = default;

void ShardedStore::add_group(ShardedGroup given) {
  auto group = std::make_unique<Group>();
  group->layout = layout_of(given.parameters, gather_.size());
  group->chunk = std::move(given.chunk);
  ensure(group->chunk.numel() == group->layout.chunk_bytes(), "a shard has another size than its layout");
  if (gather_.size() > 1) {
    group->whole = std::make_unique<ReusableBuffer>(pool_, group->layout.buffer_bytes());
    if (!group->layout.contiguous()) {
      group->staging = std::make_unique<ReusableBuffer>(pool_, group->layout.buffer_bytes());
    }
  }
  const auto& base = group->whole ? group->whole->bytes() : group->chunk;
  std::vector<TrainedTensor> trained;
  std::size_t index = 0;
  for (auto& parameter : given.parameters) {
    Place place{parameters_.size(), groups_.size(), trained.size(), {}, {}};
    auto& stored = *parameter.stored;
    stored.parts.clear();
    for (const auto& part : parts_of(stored)) {
      const auto offset = group->whole ? group->layout.whole_offset(index) : group->layout.chunk_offset(index);
      stored.parts.push_back(base.narrow(0, offset, part.bytes()).view(part.dtype).view(part.shape));
      if (parameter.trained) {
        ensure(!stored.quantized(), "'{}' is quantized and can't be trained", parameter.name);
        auto shape = part.shape;
        shape[0] = parallel::unit_range(shape[0], gather_.rank(), gather_.size()).count;
        const auto mine = group->layout.slice(index, gather_.rank());
        place.shard =
            group->chunk.narrow(0, group->layout.chunk_offset(index), mine.count).view(part.dtype).view(shape);
        place.leaf = stored.data().detach().requires_grad_(true);
        trained.push_back({part.shape, part.dtype});
      }
      ++index;
    }
    group->names.push_back(parameter.name);
    places_.emplace(parameter.name, std::move(place));
    parameters_.push_back(std::move(parameter));
  }
  if (group->whole) {
    group->whole->seal();
    if (group->staging) group->staging->seal();
  }
  group->reducer_group = reducer_.add_group(std::move(trained));
  groups_.push_back(std::move(group));
}

const ShardedStore::Place& ShardedStore::place(const std::string& name) const {
  const auto found = places_.find(name);
  ensure(found != places_.end(), "no parameter '{}' is stored", name);
  return found->second;
}

void ShardedStore::start(Group& group) {
  if (group.state != Group::State::apart || !group.whole) return;
  const model::Scope scope(scopes::kGather);
  group.landing().fill();
  const auto length = group.layout.chunk_bytes() * gather_.size();
  group.gathering = gather_.all_gather(group.landing().bytes().narrow(0, 0, length), group.chunk);
  group.state = Group::State::on_its_way;
}

void ShardedStore::complete(Group& group) {
  if (!group.whole || group.state == Group::State::gathered) return;
  start(group);
  const model::Scope scope(scopes::kAwaitGather);
  const auto asked = std::chrono::steady_clock::now();
  group.gathering.wait();
  gather_wait_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count();
  if (group.staging) {
    group.whole->fill();
    assemble(group.layout, group.whole->bytes(), group.staging->bytes());
    group.staging->empty();
  }
  group.state = Group::State::gathered;
}

void ShardedStore::drop(Group& group) {
  if (!group.whole || group.state == Group::State::apart) return;
  group.gathering.wait();
  if (group.staging) group.staging->empty();
  group.whole->empty();
  group.state = Group::State::apart;
}

void ShardedStore::prefetch(std::size_t block) {
  const auto waiting = std::count_if(groups_.begin(), groups_.end(),
                                     [](const auto& group) { return group->state == Group::State::on_its_way; });
  if (waiting >= options_.prefetch_blocks) return;
  for (const auto group : groups_of_.at(block)) start(*groups_[group]);
}

model::BlockWeights ShardedStore::acquire(std::size_t block) {
  for (const auto group : groups_of_.at(block)) {
    complete(*groups_[group]);
    ++groups_[group]->users;
  }
  model::BlockWeights weights;
  for (const auto& [local, name] : layouts_[block].parameters) {
    const auto& where = place(name);
    weights.add(local, {parameters_[where.position].stored, where.leaf});
  }
  for (const auto& [module, adapter] : layouts_[block].adapters) weights.set_adapter(module, adapter);
  return weights;
}

void ShardedStore::leave(std::size_t block) {
  for (const auto index : groups_of_.at(block)) {
    auto& group = *groups_[index];
    ensure(group.users > 0, "block {} is released without having been acquired", block);
    if (--group.users == 0 && options_.reshard_after_forward) drop(group);
  }
}

void ShardedStore::release(std::size_t block) {
  leave(block);
}

void ShardedStore::release_after_backward(std::size_t block, bool last) {
  leave(block);
  gradients_added(block, last);
}

void ShardedStore::gradients_added(std::size_t block, bool last) {
  if (!last && options_.reduce_once) return;
  for (const auto index : groups_of_.at(block)) {
    if (groups_[index]->first_block == block) reducer_.reduce(groups_[index]->reducer_group);
  }
}

void ShardedStore::finish_step() {
  reducer_.finish();
  for (auto& group : groups_) {
    ensure(group->users == 0, "a block is still in use at the end of the step");
    drop(*group);
  }
}

void ShardedStore::add_gradient(std::size_t block, const std::string& local_name, at::Tensor gradient) {
  const auto& where = place(layouts_.at(block).parameters.at(local_name));
  reducer_.add(groups_[where.group]->reducer_group, where.trained, std::move(gradient));
}

std::vector<optim::TrainableParameter> ShardedStore::trainable() {
  std::vector<optim::TrainableParameter> result;
  for (const auto& parameter : parameters_) {
    if (!parameter.trained) continue;
    const auto& where = place(parameter.name);
    result.push_back(
        {parameter.name, where.shard, reducer_.local(groups_[where.group]->reducer_group, where.trained), true});
  }
  return result;
}

void ShardedStore::set_gradient(const std::string& name, at::Tensor gradient) {
  const auto& where = place(name);
  reducer_.set_local(groups_[where.group]->reducer_group, where.trained, std::move(gradient));
}

Rows ShardedStore::rows(const std::string& name) const {
  return parallel::unit_range(parameters_[place(name).position].stored->shape.at(0), gather_.rank(), gather_.size());
}

at::Tensor ShardedStore::whole(const std::string& name) {
  const auto& where = place(name);
  ensure(where.shard.defined(), "'{}' is not trained", name);
  if (gather_.size() == 1) return where.shard;
  const auto& shape = parameters_[where.position].stored->shape;
  std::vector<Rows> parts;
  std::int64_t longest = 0;
  for (int r = 0; r < gather_.size(); ++r) {
    parts.push_back(parallel::unit_range(shape.at(0), r, gather_.size()));
    longest = std::max(longest, parts.back().count);
  }
  auto padded = shape;
  padded[0] = longest;
  auto mine = at::zeros(padded, where.shard.options());
  mine.narrow(0, 0, where.shard.size(0)).copy_(where.shard);
  padded[0] = longest * gather_.size();
  const auto all = at::empty(padded, where.shard.options());
  gather_.all_gather(all.view({-1}), mine.view({-1})).wait();
  std::vector<at::Tensor> slices;
  for (std::size_t r = 0; r < parts.size(); ++r) {
    slices.push_back(all.narrow(0, static_cast<std::int64_t>(r) * longest, parts[r].count));
  }
  return at::cat(slices);
}

StoreBytes ShardedStore::bytes() const {
  StoreBytes bytes;
  for (const auto& [name, where] : places_) {
    if (where.shard.defined()) bytes.trained += where.shard.nbytes();
  }
  for (const auto& group : groups_) bytes.weights += static_cast<std::uint64_t>(group->chunk.numel());
  bytes.weights -= bytes.trained;
  bytes.gradients = reducer_.bytes();
  bytes.gathered_peak = static_cast<std::uint64_t>(pool_.peak_bytes());
  return bytes;
}

}  // namespace lorica::engine
