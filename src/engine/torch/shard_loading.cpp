#include "engine/torch/shard_loading.hpp"

#include <ATen/ATen.h>

#include <numeric>

#include "engine/torch/sharded_weight.hpp"
#include "parallel/exchange.hpp"

namespace lorica::engine {
namespace {

using parallel::ProcessGroup;
using parallel::ShardLayout;

/// Sends to each process of `replica` its shard of `mine`; returns what came from each process (empty for other
/// replicas).
std::vector<at::Tensor> deal(ProcessGroup& stage, const parallel::Mesh& mesh, int replica,
                             const std::vector<Parameter>& mine, const std::vector<ShardLayout>& layouts) {
  const auto count = static_cast<std::size_t>(stage.size());
  const auto& my_layout = layouts[static_cast<std::size_t>(stage.rank())];
  std::vector<std::int64_t> in_sizes(count, 0), out_sizes(count, 0);
  const auto chunk = my_layout.chunk_bytes();
  const auto in = at::empty({chunk * mesh.shards}, at::kByte);
  for (int s = 0; s < mesh.shards; ++s) {
    in_sizes[static_cast<std::size_t>(replica * mesh.shards + s)] = chunk;
    if (!mine.empty()) cut_chunk(mine, my_layout, s, in.narrow(0, s * chunk, chunk));
  }
  if (mesh.replica == replica) {
    for (std::size_t r = 0; r < count; ++r) out_sizes[r] = layouts[r].chunk_bytes();
  }
  auto out = at::empty({std::accumulate(out_sizes.begin(), out_sizes.end(), std::int64_t{0})}, at::kByte);
  stage.all_to_all(out, in, out_sizes, in_sizes).wait();
  return out.split_with_sizes(out_sizes);
}

}  // namespace

std::vector<ShardedGroup> load_shards(BlockLoader& loader, const std::vector<ParameterGroup>& groups,
                                      const parallel::Mesh& mesh, ProcessGroup& stage, bool share, at::Device device) {
  std::vector<ShardedGroup> result(groups.size());
  if (!share) {
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const auto whole = loader.load(groups[g]);
      const auto layout = layout_of(whole, mesh.shards);
      result[g].chunk = at::empty({layout.chunk_bytes()}, at::kByte);
      cut_chunk(whole, layout, mesh.shard, result[g].chunk);
      result[g].chunk = result[g].chunk.to(device);
      result[g].parameters = from_description(describe(whole));
    }
    return result;
  }
  const auto processes = static_cast<std::size_t>(stage.size());
  for (std::size_t base = 0; base < groups.size(); base += processes) {
    const auto my_group = base + static_cast<std::size_t>(stage.rank());
    std::vector<Parameter> mine;
    if (my_group < groups.size()) mine = loader.load(groups[my_group]);
    std::vector<std::vector<Parameter>> described;
    std::vector<ShardLayout> layouts;
    for (const auto& text : parallel::all_gather_text(stage, describe(mine).dump())) {
      described.push_back(from_description(nlohmann::json::parse(text)));
      layouts.push_back(layout_of(described.back(), mesh.shards));
    }
    for (int replica = 0; replica < mesh.replicas; ++replica) {
      auto received = deal(stage, mesh, replica, mine, layouts);
      if (mesh.replica != replica) continue;
      for (std::size_t r = 0; r < processes && base + r < groups.size(); ++r) {
        result[base + r] = {std::move(described[r]), received[r].to(device)};
      }
    }
  }
  return result;
}

}  // namespace lorica::engine
