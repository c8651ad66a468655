// The matrix product with weights in float32, bfloat16 and NF4: the linear layers of Qwen2.5-0.5B and its head.
//
// ATen multiplies in float32, too: a weight that is kept in fewer bits is widened first, an NF4 weight by our own
// kernel (ATen's composition of that is in blockwise_bench), into memory that it keeps.
#include "harness.hpp"

#include "kernels/gemm.hpp"
#include "quant/kernel_weight.hpp"
#include "quant/weight.hpp"

namespace {

using namespace lorica;
using bench::Pair;

struct Format {
  const char* name;
  quant::WeightFormat format;
};

const Format kFloat32{"f32", {"dense", at::kFloat}};
const Format kBrain{"bf16", {"dense", at::kBFloat16}};
const Format kNf4{"nf4", {"nf4", at::kFloat, 64, false}};

struct Linear {
  std::int64_t tokens, in, out;
  double flops() const { return 2.0 * static_cast<double>(tokens * in * out); }
  std::string shape() const { return fmt::format("{}x{}x{}", tokens, in, out); }
};

/// [out, in], as both sides read it.
class Weight {
 public:
  Weight(const Format& format, std::int64_t out, std::int64_t in)
      : stored_(quant::store(at::randn({out, in}), format.format)),
        kernel_(quant::kernel_weight(stored_)),
        dense_(format.format == kFloat32.format ? stored_.data() : at::empty({out, in})) {}
  const kernels::MatrixSource& source() const { return kernel_.source; }
  at::Tensor dense() const {
    if (stored_.quantized()) {
      kernels::dequantize_4bit(kernels::Code4::nf4, stored_.data().data_ptr<std::uint8_t>(),
                               stored_.parts[1].data_ptr<float>(), stored_.elements(), stored_.format.block_size,
                               kernels::FloatType::f32, dense_.data_ptr());
    } else if (!dense_.is_same(stored_.data())) {
      dense_.copy_(stored_.data());
    }
    return dense_;
  }

 private:
  quant::StoredWeight stored_;
  quant::KernelWeight kernel_;
  at::Tensor dense_;
};

void multiply(const kernels::MatrixSource& a, const kernels::MatrixSource& b, at::Tensor& c) {
  kernels::gemm(a, b, 0, c.data_ptr<float>(), c.size(1));
}

/// y = x Wᵀ
Pair forward(const Format& format, const Linear& l) {
  const auto weight = std::make_shared<const Weight>(format, l.out, l.in);
  const auto x = at::randn({l.tokens, l.in});
  auto ours = at::empty({l.tokens, l.out}), aten = at::empty({l.tokens, l.out});
  return {[=]() mutable {
            multiply(quant::matrix_of(x), transposed(weight->source()), ours);
            return std::vector{ours};
          },
          [=]() mutable { return std::vector{at::mm_out(aten, x, weight->dense().t())}; },
          bench::tolerance_of_sum(l.in)};
}

/// dx = dy W
Pair backward(const Format& format, const Linear& l) {
  const auto weight = std::make_shared<const Weight>(format, l.out, l.in);
  const auto dy = at::randn({l.tokens, l.out});
  auto ours = at::empty({l.tokens, l.in}), aten = at::empty({l.tokens, l.in});
  return {[=]() mutable {
            multiply(quant::matrix_of(dy), weight->source(), ours);
            return std::vector{ours};
          },
          [=]() mutable { return std::vector{at::mm_out(aten, dy, weight->dense())}; }, bench::tolerance_of_sum(l.out)};
}

/// dW = dyᵀ x, of full fine-tuning
Pair weight_gradient(const Linear& l) {
  const auto x = at::randn({l.tokens, l.in}), dy = at::randn({l.tokens, l.out});
  auto ours = at::empty({l.out, l.in}), aten = at::empty({l.out, l.in});
  return {[=]() mutable {
            multiply(transposed(quant::matrix_of(dy)), quant::matrix_of(x), ours);
            return std::vector{ours};
          },
          [=]() mutable { return std::vector{at::mm_out(aten, dy.t(), x)}; }, bench::tolerance_of_sum(l.tokens)};
}

constexpr std::int64_t kRank = 16;

/// gate and up of a decoder layer with LoRA: y = x Wᵀ + t Bᵀ for both, in one product of blocks; t = x Aᵀ is given.
Pair gate_and_up(const Linear& l) {
  struct Half {
    Half(const Linear& l)
        : weight(kNf4, l.out, l.in),
          t(at::randn({l.tokens, kRank})),
          b(at::randn({l.out, kRank})),
          y(at::empty({l.tokens, l.out})) {}
    Weight weight;
    at::Tensor t, b, y;
  };
  const auto gate = std::make_shared<const Half>(l), up = std::make_shared<const Half>(l);
  const auto x = at::randn({l.tokens, l.in});
  const auto ours = [=] {
    const auto lora = [](const Half& half) { return transposed(quant::matrix_of(half.b)); };
    kernels::BlockProduct product;
    product.a = {quant::matrix_of(x), quant::matrix_of(gate->t), quant::matrix_of(up->t)};
    product.columns = {{{transposed(gate->weight.source()), lora(*gate), {}}, gate->y.data_ptr<float>(), l.out},
                       {{transposed(up->weight.source()), {}, lora(*up)}, up->y.data_ptr<float>(), l.out}};
    kernels::gemm(product);
    return std::vector{gate->y, up->y};
  };
  const auto aten = [=] {
    const auto half = [&](const Half& h) { return at::mm(x, h.weight.dense().t()).addmm_(h.t, h.b.t()); };
    return std::vector{half(*gate), half(*up)};
  };
  return {ours, aten, bench::tolerance_of_sum(l.in + kRank)};
}

void add(bench::Suite& suite, const Format& format, const Linear& l) {
  const bench::Work work{l.flops()};
  suite.add(fmt::format("gemm/xWt/{}/{}", format.name, l.shape()), work, [=] { return forward(format, l); });
  suite.add(fmt::format("gemm/dyW/{}/{}", format.name, l.shape()), work, [=] { return backward(format, l); });
}

void add_pairs(bench::Suite& suite) {
  constexpr std::int64_t kTokens = 512;
  const Linear query{kTokens, 896, 896}, key{kTokens, 896, 128}, widen{kTokens, 896, 4864}, shrink{kTokens, 4864, 896},
      lora{kTokens, 896, kRank}, long_batch{2048, 896, 4864}, head{52, 896, 151936};
  for (const auto& l : {query, key, widen, shrink, lora}) add(suite, kFloat32, l);
  for (const auto& l : {query, widen, shrink}) add(suite, kBrain, l);
  for (const auto& l : {query, key, widen, shrink, long_batch}) add(suite, kNf4, l);
  add(suite, kBrain, head);
  for (const auto& l : {query, widen}) {
    suite.add("gemm/dytx/f32/" + l.shape(), {l.flops()}, [=] { return weight_gradient(l); });
  }
  const Linear low_rank{kTokens, kRank, widen.out};
  suite.add("gemm/gate+up+lora/nf4/" + widen.shape(), {2 * (widen.flops() + low_rank.flops())},
            [=] { return gate_and_up(widen); });
}

}  // namespace

int main(int count, char** arguments) {
  return lorica::bench::run_pairs(count, arguments, add_pairs);
}
