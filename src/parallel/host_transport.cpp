// Collectives in host memory, made of messages. Gloo's own collectives copy through buffers of their own (all-gather)
// or add up in an order that depends on the group's size and in the tensor's dtype (all-reduce); its messages go
// straight from one tensor into the other, and are moved by the group's own thread while the caller computes.
#include <ATen/record_function.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "base/error.hpp"
#include "parallel/ending.hpp"
#include "parallel/gloo_group.hpp"
#include "parallel/ordered_sum.hpp"
#include "parallel/transport.hpp"

namespace lorica::parallel {
namespace {

constexpr int kFirstOwnTag = 1 << 30;  // the users' tags are below

/// c10d's group counts its operations without a lock, and two threads start some here.
struct Group {
  c10::intrusive_ptr<c10d::Backend> backend;
  std::mutex mutex;
};

/// Messages of one operation.
class Messages {
 public:
  explicit Messages(Group& group) : group_(&group) {}

  // A message of no bytes isn't sent: both sides know the size.
  void send(at::Tensor slice, int to, int tag) {
    if (slice.numel() == 0) return;
    start(to, [&] {
      std::vector<at::Tensor> tensors{std::move(slice)};
      return group_->backend->send(tensors, to, tag);
    });
  }
  void receive(at::Tensor slice, int from, int tag) {
    if (slice.numel() == 0) return;
    start(from, [&] {
      std::vector<at::Tensor> tensors{std::move(slice)};
      return group_->backend->recv(tensors, from, tag);
    });
  }
  void wait() {
    for (auto& [work, peer] : works_) {
      guarded(peer, [&] { work->wait(); });
    }
    works_.clear();
  }

 private:
  template <class Body>
  static void guarded(int peer, const Body& body) {
    try {
      body();
    } catch (const std::exception& error) {
      throw LostPeer(peer, first_line(error.what()));
    }
  }
  template <class Body>
  void start(int peer, const Body& body) {
    const std::lock_guard lock(group_->mutex);
    // c10d would put spans into profiles that end whenever the message does, across all others.
    const at::DisableRecordFunctionGuard unrecorded;
    guarded(peer, [&] { works_.emplace_back(body(), peer); });
  }

  Group* group_;
  std::vector<std::pair<c10::intrusive_ptr<c10d::Work>, int>> works_;
};

/// One thread that finishes operations whose end is more than the arrival of messages, in their order.
class Finisher {
 public:
  ~Finisher() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  Pending add(std::function<void()> work) {
    std::packaged_task<void()> task(std::move(work));
    auto result = task.get_future().share();
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
      if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    }
    changed_.notify_one();
    return Pending([result] { result.get(); });
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<void()>> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

void copy_bytes(const at::Tensor& from, const at::Tensor& to) {
  if (from.numel() > 0) std::memmove(to.mutable_data_ptr(), from.const_data_ptr(), from.nbytes());
}

class HostTransport : public Transport {
 public:
  HostTransport(c10::intrusive_ptr<c10d::Backend> group, int rank, int size) : rank_(rank), size_(size) {
    group_.backend = std::move(group);
  }

  Pending all_gather(at::Tensor out, at::Tensor in) override {
    const auto count = in.numel();
    Messages messages(group_);
    const int tag = next_tag();
    each_peer([&](int peer) { messages.receive(out.narrow(0, peer * count, count), peer, tag); });
    each_peer([&](int peer) { messages.send(in, peer, tag); });
    const auto own = out.narrow(0, rank_ * count, count);
    if (own.const_data_ptr() != in.const_data_ptr()) copy_bytes(in, own);
    return finish_on_wait(std::move(messages));
  }

  Pending reduce_scatter(at::Tensor out, at::Tensor in) override {
    const auto count = out.numel();
    std::vector<at::Tensor> parts;
    auto messages =
        exchange_for_sum([&](int process) { return in.narrow(0, process * count, count); }, next_tag(), parts);
    return finisher_.add([messages = std::move(messages), parts = std::move(parts), out]() mutable {
      messages.wait();
      sum_in_order(parts, out);
    });
  }

  // Everybody sums one slice and hands the sum to all. A slice's sum arrives where the slice itself was sent from, and
  // can't do so before that has been read.
  Pending all_reduce(at::Tensor tensor) override {
    const auto slice = [&](int process) {
      const auto begin = slice_begin(tensor.numel(), size_, process);
      return tensor.narrow(0, begin, slice_begin(tensor.numel(), size_, process + 1) - begin);
    };
    const int tag = next_tag(), sum_tag = next_tag();
    std::vector<at::Tensor> parts;
    auto messages = exchange_for_sum(slice, tag, parts);
    Messages sums(group_);
    each_peer([&](int peer) { sums.receive(slice(peer), peer, sum_tag); });
    return finisher_.add([this, messages = std::move(messages), sums = std::move(sums), parts = std::move(parts),
                          own = slice(rank_), sum_tag]() mutable {
      messages.wait();
      sum_in_order(parts, own);
      each_peer([&](int peer) { sums.send(own, peer, sum_tag); });
      sums.wait();
    });
  }

  Pending all_to_all(at::Tensor out, at::Tensor in, const std::vector<std::int64_t>& out_sizes,
                     const std::vector<std::int64_t>& in_sizes) override {
    const auto to = in.split_with_sizes(in_sizes), from = out.split_with_sizes(out_sizes);
    const int tag = next_tag();
    Messages messages(group_);
    each_peer([&](int peer) { messages.receive(from[peer], peer, tag); });
    each_peer([&](int peer) { messages.send(to[peer], peer, tag); });
    copy_bytes(to[rank_], from[rank_]);
    return finish_on_wait(std::move(messages));
  }

  Pending broadcast(at::Tensor tensor, int root) override {
    const int tag = next_tag();
    Messages messages(group_);
    if (root == rank_) {
      each_peer([&](int peer) { messages.send(tensor, peer, tag); });
    } else {
      messages.receive(tensor, root, tag);
    }
    return finish_on_wait(std::move(messages));
  }

  Pending send(at::Tensor tensor, int to, int tag) override {
    Messages messages(group_);
    messages.send(std::move(tensor), to, checked(tag));
    return finish_on_wait(std::move(messages));
  }

  Pending receive(at::Tensor tensor, int from, int tag) override {
    Messages messages(group_);
    messages.receive(std::move(tensor), from, checked(tag));
    return finish_on_wait(std::move(messages));
  }

 private:
  static int checked(int tag) {
    ensure(tag >= 0 && tag < kFirstOwnTag, "message tag {}", tag);
    return tag;
  }
  // Operations are started in the same order everywhere, so that the count matches those of one operation up.
  int next_tag() { return kFirstOwnTag + static_cast<int>(operations_++ % kFirstOwnTag); }

  static Pending finish_on_wait(Messages messages) {
    // std::function wants something that can be copied.
    auto shared = std::make_shared<Messages>(std::move(messages));
    return Pending([shared] { shared->wait(); });
  }

  /// Calls body(peer) for all others, the next one first, so that not all talk to the same one at once.
  template <class Body>
  void each_peer(const Body& body) const {
    for (int step = 1; step < size_; ++step) body((rank_ + step) % size_);
  }

  /// Sends everybody their slice, and receives all those for this process into scratch memory; `parts` are they, by
  /// rank.
  template <class Slice>
  Messages exchange_for_sum(const Slice& slice, int tag, std::vector<at::Tensor>& parts) {
    const auto own = slice(rank_);
    parts.assign(size_, own);
    Messages messages(group_);
    const auto scratch = at::empty({(size_ - 1) * own.numel()}, own.options());
    each_peer([&](int peer) {
      const int place = peer < rank_ ? peer : peer - 1;
      parts[peer] = scratch.narrow(0, place * own.numel(), own.numel());
      messages.receive(parts[peer], peer, tag);
    });
    each_peer([&](int peer) { messages.send(slice(peer), peer, tag); });
    return messages;
  }

  Group group_;
  int rank_, size_;
  unsigned operations_ = 0;
  Finisher finisher_;  // last: its thread uses the rest
};

}  // namespace

std::unique_ptr<Transport> make_host_transport(World& world, const std::string& name, int rank, int size) {
  const auto store = c10::make_intrusive<c10d::PrefixStore>(
      "group/" + name, c10::intrusive_ptr<c10d::Store>::reclaim_copy(&world.store()));
  return std::make_unique<HostTransport>(make_gloo_group(store, rank, size, world.address()), rank, size);
}

}  // namespace lorica::parallel
