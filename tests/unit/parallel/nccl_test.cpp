// NCCL's transport on one device, in a group of one: every operation is a copy of its input. Skips itself without a
// GPU.
#include "parallel/cuda/nccl_transport.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

namespace lorica::parallel {
namespace {

class NcclTransport : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_nccl()) GTEST_SKIP() << "this build has no NCCL";
    if (at::globalContext().getAcceleratorHooksInterface(at::kCUDA).deviceCount() == 0)
      GTEST_SKIP() << "no CUDA device";
    transport_ = make_nccl_transport(c10::make_intrusive<c10d::HashStore>(), 0, 1);
  }
  static at::Tensor numbers(at::ScalarType type = at::kFloat) {
    return at::arange(1, 1001, at::TensorOptions().device(at::kCUDA).dtype(type));
  }

  std::unique_ptr<Transport> transport_;
};

TEST_F(NcclTransport, Gathers) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kByte, at::kLong}) {
    auto out = at::empty({1000}, numbers(type).options());
    transport_->all_gather(out, numbers(type)).wait();
    EXPECT_TRUE(at::equal(out, numbers(type)));
  }
  auto own = numbers();
  transport_->all_gather(own, own).wait();
  EXPECT_TRUE(at::equal(own, numbers())) << "in place";
  auto none = at::empty({0}, numbers().options());
  transport_->all_gather(none, none).wait();
}

TEST_F(NcclTransport, Reduces) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf, at::kLong, at::kDouble}) {
    auto all = numbers(type), out = at::empty_like(all);
    transport_->all_reduce(all).wait();
    EXPECT_TRUE(at::equal(all, numbers(type)));
    transport_->reduce_scatter(out, numbers(type)).wait();
    EXPECT_TRUE(at::equal(out, numbers(type)));
  }
  auto wide = at::empty({1000}, numbers().options());
  transport_->reduce_scatter(wide, numbers(at::kBFloat16)).wait();
  EXPECT_TRUE(at::equal(wide, numbers(at::kBFloat16).to(at::kFloat))) << "from 16 bits into 32";
}

TEST_F(NcclTransport, DealsAndTells) {
  auto out = at::empty({1000}, numbers().options()), told = numbers();
  transport_->all_to_all(out, numbers(), {1000}, {1000}).wait();
  EXPECT_TRUE(at::equal(out, numbers()));
  transport_->broadcast(told, 0).wait();
  EXPECT_TRUE(at::equal(told, numbers()));
}

}  // namespace
}  // namespace lorica::parallel
