#define USE_C10D_NCCL  // as LibTorch itself was compiled; without it c10d's header is empty
#include "parallel/cuda/nccl_transport.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <array>
#include <chrono>
#include <cstdlib>

#include "parallel/ending.hpp"

namespace lorica::parallel {
namespace {

using Nccl = c10d::ProcessGroupNCCL;
using Work = c10::intrusive_ptr<c10d::Work>;

/// What NCCL throws, as a lost connection; it doesn't say to whom.
template <class Body>
auto guarded(const Body& body) {
  try {
    return body();
  } catch (const c10::DistError& error) {
    throw LostPeer(-1, first_line(error.what_without_backtrace()));
  }
}

c10::intrusive_ptr<Nccl> make_group(const c10::intrusive_ptr<c10d::Store>& store, const std::string& name, int rank,
                                    int size) {
  // That a process is gone is World's to notice, which then ends this one with a message that names it; c10d's own
  // watchdog would end it without. The setting is read from the environment only; the user's own stands.
  ::setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", /*overwrite=*/0);
  auto options = Nccl::Options::create();
  options->timeout = std::chrono::hours(24 * 30);  // a slow process may be slow
  return guarded([&] {
    return c10::make_intrusive<Nccl>(c10::make_intrusive<c10d::PrefixStore>(name, store), rank, size, options);
  });
}

/// Keeps the tensors of an operation alive until it is waited for.
Pending pending(Work work, std::vector<at::Tensor> tensors) {
  return Pending([work = std::move(work), tensors = std::move(tensors)] { guarded([&] { work->wait(); }); });
}

/// parts [size, n], one row of each process: their sum, added up in float32 in the order of ranks, into out [n].
void sum_rows(const at::Tensor& parts, const at::Tensor& out) {
  const auto type = parts.scalar_type();
  const bool narrow = type == at::kHalf || type == at::kBFloat16;
  auto sum = parts[0].to(narrow ? at::kFloat : type, /*non_blocking=*/false, /*copy=*/true);
  for (std::int64_t r = 1; r < parts.size(0); ++r) sum.add_(parts[r]);
  out.copy_(sum);
}

class NcclTransport : public Transport {
 public:
  NcclTransport(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size)
      : store_(store), rank_(rank), size_(size), collectives_(make_group(store, "collectives", rank, size)) {}

  ~NcclTransport() override {
    collectives_->shutdown();
    for (auto& group : messages_) {
      if (group) group->shutdown();
    }
  }

  Pending all_gather(at::Tensor out, at::Tensor in) override {
    if (in.numel() == 0) return {};
    return pending(guarded([&] { return collectives_->_allgather_base(out, in); }), {out, in});
  }

  // NCCL's own reductions add up in the tensor's dtype and in an order that depends on the number of processes. Sending
  // everybody their slices moves as much and leaves the order of additions to us.
  Pending reduce_scatter(at::Tensor out, at::Tensor in) override {
    if (out.numel() == 0) return {};
    auto parts = at::empty({size_, out.numel()}, in.options());
    const auto work = exchange(parts, in);
    return Pending([work, parts, in, out] {
      guarded([&] { work->wait(); });
      sum_rows(parts, out);
    });
  }

  Pending all_reduce(at::Tensor tensor) override {
    if (tensor.numel() == 0) return {};
    const auto count = (tensor.numel() + size_ - 1) / size_;
    auto whole = at::zeros({size_ * count}, tensor.options());
    whole.narrow(0, 0, tensor.numel()).copy_(tensor);
    auto parts = at::empty({size_, count}, tensor.options());
    const auto work = exchange(parts, whole);
    return Pending([this, work, parts, whole, tensor]() mutable {
      guarded([&] { work->wait(); });
      auto own = whole.narrow(0, rank_ * parts.size(1), parts.size(1));
      sum_rows(parts, own);
      guarded([&] { collectives_->_allgather_base(whole, own)->wait(); });
      tensor.copy_(whole.narrow(0, 0, tensor.numel()));
    });
  }

  Pending all_to_all(at::Tensor out, at::Tensor in, const std::vector<std::int64_t>& out_sizes,
                     const std::vector<std::int64_t>& in_sizes) override {
    auto out_splits = out_sizes, in_splits = in_sizes;
    return pending(guarded([&] { return collectives_->alltoall_base(out, in, out_splits, in_splits); }), {out, in});
  }

  Pending broadcast(at::Tensor tensor, int root) override {
    if (tensor.numel() == 0) return {};
    std::vector<at::Tensor> tensors{tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return pending(guarded([&] { return collectives_->broadcast(tensors, options); }), tensors);
  }

  Pending send(at::Tensor tensor, int to, int tag) override {
    if (tensor.numel() == 0) return {};
    std::vector<at::Tensor> tensors{tensor};
    return pending(guarded([&] { return group_for(rank_ < to, tag).send(tensors, to, 0); }), tensors);
  }

  Pending receive(at::Tensor tensor, int from, int tag) override {
    if (tensor.numel() == 0) return {};
    std::vector<at::Tensor> tensors{tensor};
    return pending(guarded([&] { return group_for(from < rank_, tag).recv(tensors, from, 0); }), tensors);
  }

 private:
  /// Row r of `parts` is what rank r has of this process's slice of everybody's `in`.
  Work exchange(at::Tensor& parts, at::Tensor& in) {
    auto flat = parts.view({-1});
    std::vector<std::int64_t> even;
    return guarded([&] { return collectives_->alltoall_base(flat, in, even, even); });
  }

  /// NCCL has no tags: between two processes it matches messages by their order, and a receive that waits holds up
  /// whatever comes behind it. So messages up and down the ranks, and those of even and of odd tags (a pipeline's
  /// activations and gradients), have communicators of their own, in each of which they are sent in the order in which
  /// they are received (pipeline_schedule_test checks that they are).
  Nccl& group_for(bool up, int tag) {
    auto& group = messages_[(up ? 2U : 0U) + static_cast<std::size_t>(tag % 2)];
    if (!group) group = make_group(store_, fmt::format("messages {} {}", up ? "up" : "down", tag % 2), rank_, size_);
    return *group;
  }

  c10::intrusive_ptr<c10d::Store> store_;
  int rank_, size_;
  c10::intrusive_ptr<Nccl> collectives_;
  std::array<c10::intrusive_ptr<Nccl>, 4> messages_;  // made when they are first needed
};

}  // namespace

bool has_nccl() {
  return true;
}

std::unique_ptr<Transport> make_nccl_transport(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size) {
  return std::make_unique<NcclTransport>(store, rank, size);
}

}  // namespace lorica::parallel
