// Devices' tensors by way of host memory: for processes that share a device, which NCCL refuses, and for builds without
// NCCL. Each operation copies its input to the host, and waiting for it copies the result back.
#include <ATen/ATen.h>

#include "parallel/transport.hpp"

namespace lorica::parallel {
namespace {

at::Tensor on_host(const at::Tensor& tensor) {
  return tensor.to(tensor.options().device(at::kCPU), /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor room_for(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(), tensor.options().device(at::kCPU));
}

/// Waits for what fills `host`, then copies it to `out`: not as an operation that autograd counts, since gathered
/// parameters come and go under tensors that a graph has saved.
Pending then_copy(Pending pending, at::Tensor host, at::Tensor out) {
  auto shared = std::make_shared<Pending>(std::move(pending));
  return Pending([shared, host = std::move(host), out = out.variable_data()]() mutable {
    shared->wait();
    out.copy_(host);
  });
}

class StagedTransport : public Transport {
 public:
  explicit StagedTransport(std::unique_ptr<Transport> host) : host_(std::move(host)) {}

  Pending all_gather(at::Tensor out, at::Tensor in) override {
    const auto result = room_for(out);
    return then_copy(host_->all_gather(result, on_host(in)), result, out);
  }
  Pending reduce_scatter(at::Tensor out, at::Tensor in) override {
    const auto result = room_for(out);
    return then_copy(host_->reduce_scatter(result, on_host(in)), result, out);
  }
  Pending all_reduce(at::Tensor tensor) override {
    const auto copy = on_host(tensor);
    return then_copy(host_->all_reduce(copy), copy, tensor);
  }
  Pending all_to_all(at::Tensor out, at::Tensor in, const std::vector<std::int64_t>& out_sizes,
                     const std::vector<std::int64_t>& in_sizes) override {
    const auto result = room_for(out);
    return then_copy(host_->all_to_all(result, on_host(in), out_sizes, in_sizes), result, out);
  }
  Pending broadcast(at::Tensor tensor, int root) override {
    const auto copy = on_host(tensor);
    return then_copy(host_->broadcast(copy, root), copy, tensor);
  }
  Pending send(at::Tensor tensor, int to, int tag) override { return host_->send(on_host(tensor), to, tag); }
  Pending receive(at::Tensor tensor, int from, int tag) override {
    const auto result = room_for(tensor);
    return then_copy(host_->receive(result, from, tag), result, tensor);
  }

 private:
  std::unique_ptr<Transport> host_;
};

}  // namespace

std::unique_ptr<Transport> make_staged_transport(std::unique_ptr<Transport> host) {
  return std::make_unique<StagedTransport>(std::move(host));
}

}  // namespace lorica::parallel
