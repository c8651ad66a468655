// Causal attention, forward alone and forward with backward: 14 heads over 2 key heads of 64, as Qwen2.5-0.5B, over one
// sequence or a packed batch. FLOPs are those of the visible half alone.
#include "harness.hpp"

#include <torch/csrc/autograd/autograd.h>

#include "kernels/attention.hpp"
#include "quant/kernel_weight.hpp"

namespace {

using namespace lorica;
using bench::Pair;

constexpr std::int64_t kHeads = 14, kKeyHeads = 2, kSize = 64;

struct Batch {
  std::int64_t sequences, length;
  at::ScalarType dtype;
  std::int64_t tokens() const { return sequences * length; }
  at::Tensor random(std::int64_t heads) const { return at::randn({tokens(), heads, kSize}).to(dtype); }
};

/// scaled_dot_product_attention, one sequence after the other, as a ragged batch has to. [tokens, heads, size]
at::Tensor by_aten(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t length) {
  std::vector<at::Tensor> parts;
  for (std::int64_t begin = 0; begin < q.size(0); begin += length) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, begin, length).transpose(0, 1).unsqueeze(0); };
    const auto out =
        at::scaled_dot_product_attention(part(q), part(k), part(v), {}, 0.0, true, std::nullopt, /*enable_gqa=*/true);
    parts.push_back(out.squeeze(0).transpose(0, 1));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

struct Ours {
  explicit Ours(const Batch& batch)
      : q(batch.random(kHeads)),
        k(batch.random(kKeyHeads)),
        v(batch.random(kKeyHeads)),
        dout(batch.random(kHeads)),
        out(at::empty_like(q)),
        dq(at::empty_like(q)),
        dk(at::empty_like(k)),
        dv(at::empty_like(v)),
        lse(at::empty({kHeads, batch.tokens()})),
        type(quant::float_type(batch.dtype)) {
    for (std::int64_t at = 0; at <= batch.tokens(); at += batch.length) offsets.push_back(at);
    shape.offsets = offsets;
    shape.heads = kHeads, shape.kv_heads = kKeyHeads, shape.head_size = kSize;
    shape.q_stride = kHeads * kSize, shape.k_stride = shape.v_stride = kKeyHeads * kSize;
  }
  void forward() const {
    kernels::attention(q.data_ptr(), k.data_ptr(), v.data_ptr(), type, shape, out.data_ptr(), lse.data_ptr<float>());
  }
  void backward() const {
    kernels::attention_backward(q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(), lse.data_ptr<float>(),
                                dout.data_ptr(), type, shape, dq.data_ptr(), dk.data_ptr(), dv.data_ptr());
  }
  at::Tensor q, k, v, dout, out, dq, dk, dv, lse;
  std::vector<std::int64_t> offsets;
  kernels::AttentionShape shape;
  kernels::FloatType type;
};

/// Sums over up to `length` keys, and for dk and dv over the queries of a group of heads. In bfloat16 ATen rounds the
/// probabilities, and each head's dk and dv as well as their sums over the group.
bench::Tolerance tolerance(const Batch& batch) {
  constexpr std::int64_t kGroup = kHeads / kKeyHeads;
  auto result = bench::tolerance_of_sum(batch.length * kGroup);
  if (batch.dtype == at::kBFloat16) result.largest += 2 * static_cast<double>(kGroup) * bench::kBrainEpsilon;
  return result;
}

Pair forward(const Batch& batch) {
  const auto ours = std::make_shared<const Ours>(batch);
  return {[=] {
            ours->forward();
            return std::vector{ours->out};
          },
          [=] { return std::vector{by_aten(ours->q, ours->k, ours->v, batch.length)}; }, tolerance(batch)};
}

Pair forward_backward(const Batch& batch) {
  const auto ours = std::make_shared<const Ours>(batch);
  const auto leaf = [](const at::Tensor& x) { return x.detach().requires_grad_(); };
  const auto q = leaf(ours->q), k = leaf(ours->k), v = leaf(ours->v);
  return {[=] {
            ours->forward();
            ours->backward();
            return std::vector{ours->dq, ours->dk, ours->dv};
          },
          [=] {
            return torch::autograd::grad({by_aten(q, k, v, batch.length)}, {q, k, v}, {ours->dout});
          },
          tolerance(batch)};
}

void add_pairs(bench::Suite& suite) {
  for (const auto& [name, dtype] : {std::pair{"f32", at::kFloat}, std::pair{"bf16", at::kBFloat16}}) {
    for (const auto& [sequences, length] :
         {std::pair{1, 128}, std::pair{1, 512}, std::pair{1, 2048}, std::pair{8, 64}}) {
      const Batch batch{sequences, length, dtype};
      // A product over the visible pairs; forward has two of them, backward five.
      const double pairs = static_cast<double>(batch.tokens()) * static_cast<double>(length + 1) / 2;
      const double product = 2 * pairs * static_cast<double>(kHeads * kSize);
      const auto shape = fmt::format("{}/{}x{}", name, sequences, length);
      suite.add("attention/forward/" + shape, {2 * product}, [=] { return forward(batch); });
      suite.add("attention/forward+backward/" + shape, {7 * product}, [=] { return forward_backward(batch); });
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  return lorica::bench::run_pairs(count, arguments, add_pairs);
}
