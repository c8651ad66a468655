#include "parallel/process_group.hpp"

#include <algorithm>
#include <exception>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include "base/error.hpp"
#include "parallel/cuda/nccl_transport.hpp"
#include "parallel/transport.hpp"

namespace lorica::parallel {

Pending::Pending(Pending&& other) noexcept : wait_(std::exchange(other.wait_, nullptr)) {}

Pending& Pending::operator=(Pending&& other) noexcept {
  if (this != &other) {
    finish_quietly();
    wait_ = std::exchange(other.wait_, nullptr);
  }
  return *this;
}

Pending::~Pending() {
  // While an exception is on its way, nobody may ever send what is waited for: the others wait for this process. What
  // the operation needs is left to it.
  if (wait_ && std::uncaught_exceptions() > 0) {
    new std::function<void()>(std::exchange(wait_, nullptr));
    return;
  }
  finish_quietly();
}

void Pending::wait() {
  if (const auto finish = std::exchange(wait_, nullptr)) finish();
}

void Pending::finish_quietly() noexcept {
  try {
    wait();
  } catch (const std::exception&) {
    // Whoever didn't wait doesn't use the result, and the next operation fails as well.
  }
}

namespace {

at::Tensor flat(const at::Tensor& tensor, const char* what) {
  ensure(tensor.defined() && tensor.is_contiguous(), "{}: the tensor isn't contiguous", what);
  return tensor.detach().view({-1});
}

}  // namespace

ProcessGroup::ProcessGroup(World& world, const std::string& name, const std::vector<int>& ranks, at::Device device,
                           bool nccl)
    : world_(world), name_(name), ranks_(ranks) {
  const auto place = std::find(ranks.begin(), ranks.end(), world.rank());
  ensure(place != ranks.end() && std::is_sorted(ranks.begin(), ranks.end()), "group {}: ranks", name);
  rank_ = static_cast<int>(place - ranks.begin());
  if (size() == 1) return;
  if (device.is_mps()) {
    throw ConfigError("several processes can't share an Apple GPU: use --backend cpu, or --world_size 1");
  }
  try {
    transport_ = make_transport(device, nccl);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    world.lost(-1, error.what());
  }
}

std::unique_ptr<Transport> ProcessGroup::make_transport(at::Device device, bool nccl) {
  if (nccl) {
    ensure(device.is_cuda(), "NCCL on {}", device.str());
    const auto store = c10::make_intrusive<c10d::PrefixStore>(
        "nccl/" + name_, c10::intrusive_ptr<c10d::Store>::reclaim_copy(&world_.store()));
    return make_nccl_transport(store, rank_, size());
  }
  auto host = make_host_transport(world_, name_, rank_, size());
  return device.is_cpu() ? std::move(host) : make_staged_transport(std::move(host));
}

ProcessGroup::~ProcessGroup() {
  // As above: what is under way may never end.
  if (std::uncaught_exceptions() > 0) static_cast<void>(transport_.release());
}

template <class Start>
Pending ProcessGroup::started(const Start& start) {
  const auto guarded = [this](const auto& body) {
    try {
      return body();
    } catch (const LostPeer& lost) {
      world_.lost(lost.peer < 0 ? -1 : ranks_.at(static_cast<std::size_t>(lost.peer)), lost.what());
    }
  };
  auto pending = std::make_shared<Pending>(guarded(start));
  return Pending([guarded, pending] { guarded([&] { pending->wait(); }); });
}

Pending ProcessGroup::all_gather(at::Tensor out, at::Tensor in) {
  const auto to = flat(out, "all_gather"), from = flat(in, "all_gather");
  ensure(to.numel() == size() * from.numel() && out.scalar_type() == in.scalar_type(),
         "all_gather: {} elements of {} processes into {}", from.numel(), size(), to.numel());
  if (size() == 1) {
    if (to.const_data_ptr() != from.const_data_ptr()) to.copy_(from);
    return {};
  }
  traffic_.gathered += (size() - 1) * from.nbytes();
  return started([&] { return transport_->all_gather(to, from); });
}

Pending ProcessGroup::reduce_scatter(at::Tensor out, at::Tensor in) {
  const auto to = flat(out, "reduce_scatter"), from = flat(in, "reduce_scatter");
  ensure(from.numel() == size() * to.numel(), "reduce_scatter: {} elements to {} processes of {}", from.numel(), size(),
         to.numel());
  if (size() == 1) {
    if (to.const_data_ptr() != from.const_data_ptr()) to.copy_(from);
    return {};
  }
  traffic_.reduced += (size() - 1) * from.nbytes() / size();
  return started([&] { return transport_->reduce_scatter(to, from); });
}

Pending ProcessGroup::all_reduce(at::Tensor tensor) {
  const auto all = flat(tensor, "all_reduce");
  if (size() == 1) return {};
  const auto own = slice_begin(all.numel(), size(), rank_ + 1) - slice_begin(all.numel(), size(), rank_);
  traffic_.reduced += (all.numel() + (size() - 2) * own) * all.element_size();
  return started([&] { return transport_->all_reduce(all); });
}

Pending ProcessGroup::all_to_all(at::Tensor out, at::Tensor in, const std::vector<std::int64_t>& out_sizes,
                                 const std::vector<std::int64_t>& in_sizes) {
  const auto to = flat(out, "all_to_all"), from = flat(in, "all_to_all");
  const auto total = [](const std::vector<std::int64_t>& sizes) {
    std::int64_t sum = 0;
    for (const auto size : sizes) sum += size;
    return sum;
  };
  ensure(static_cast<int>(out_sizes.size()) == size() && static_cast<int>(in_sizes.size()) == size() &&
             total(out_sizes) == to.numel() && total(in_sizes) == from.numel() && out_sizes[rank_] == in_sizes[rank_] &&
             out.scalar_type() == in.scalar_type(),
         "all_to_all: sizes don't fit {} and {} elements", to.numel(), from.numel());
  if (size() == 1) {
    to.copy_(from);
    return {};
  }
  traffic_.messages += (from.numel() - in_sizes[rank_]) * from.element_size();
  return started([&] { return transport_->all_to_all(to, from, out_sizes, in_sizes); });
}

Pending ProcessGroup::broadcast(at::Tensor tensor, int root) {
  const auto all = flat(tensor, "broadcast");
  if (size() == 1) return {};
  if (root == rank_) traffic_.messages += (size() - 1) * all.nbytes();
  return started([&] { return transport_->broadcast(all, root); });
}

Pending ProcessGroup::send(at::Tensor tensor, int to, int tag) {
  const auto all = flat(tensor, "send");
  ensure(to != rank_ && to >= 0 && to < size(), "send: from rank {} to {} of {}", rank_, to, size());
  traffic_.messages += all.nbytes();
  return started([&] { return transport_->send(all, to, tag); });
}

Pending ProcessGroup::receive(at::Tensor tensor, int from, int tag) {
  const auto all = flat(tensor, "receive");
  ensure(from != rank_ && from >= 0 && from < size(), "receive: rank {} of {} from {}", rank_, size(), from);
  return started([&] { return transport_->receive(all, from, tag); });
}

}  // namespace lorica::parallel
