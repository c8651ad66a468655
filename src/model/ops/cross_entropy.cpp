#include "model/ops/cross_entropy.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "kernels/elementwise.hpp"
#include "model/scope.hpp"
#include "quant/kernel_weight.hpp"

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What is asked for, and what comes of it.
struct Wish {
  bool hidden_grad, weight_grad;
  bool any() const { return hidden_grad || weight_grad; }
};
struct Outcome {
  at::Tensor loss;         ///< float64, no dimension, on hidden's device
  at::Tensor hidden_grad;  ///< [T, features], hidden's dtype; undefined if it isn't wanted
  at::Tensor weight_grad;  ///< [classes, features], float32; undefined if it isn't wanted
};

/// Caps logits in place: c · tanh(x / c). Returns the slope of that, 1 − tanh²(x / c), if it is wanted.
at::Tensor cap(at::Tensor logits, double softcap, bool wants_slope) {
  logits.div_(softcap).tanh_();
  auto slope = wants_slope ? logits.square().neg_().add_(1) : at::Tensor();
  logits.mul_(softcap);
  return slope;
}

/// By kernels/gemm.hpp, which reads W as it is stored: all the budget is logits, which turn into their gradient in
/// place (and, with a soft cap, its slopes).
Outcome in_kernel(const at::Tensor& hidden, const quant::StoredWeight& stored, const at::Tensor& labels,
                  std::int64_t budget, double softcap, const Wish& wish) {
  const auto weight = quant::kernel_weight(stored);
  const auto rows = hidden.size(0), classes = stored.shape[0], features = stored.shape[1];
  if (softcap > 0) budget /= 2;
  const auto most = std::clamp<std::int64_t>(budget / (classes * std::int64_t{sizeof(float)}), 1, rows);
  const auto chunks = (rows + most - 1) / most;
  Outcome out;
  if (wish.hidden_grad) out.hidden_grad = at::empty_like(hidden);
  if (wish.weight_grad) out.weight_grad = at::empty({classes, features}, hidden.options());
  double loss = 0;
  const auto all = at::empty({(rows + chunks - 1) / chunks, classes}, hidden.options());
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const auto begin = chunk * rows / chunks, count = (chunk + 1) * rows / chunks - begin;
    const auto h = quant::matrix_of(hidden.narrow(0, begin, count));
    const auto logits = all.narrow(0, 0, count);
    kernels::gemm(h, transposed(weight.source), 0, logits.data_ptr<float>(), classes);
    const auto slope = softcap > 0 ? cap(logits, softcap, wish.any()) : at::Tensor();
    loss += kernels::cross_entropy(logits.data_ptr<float>(), labels.const_data_ptr<std::int64_t>() + begin, count,
                                   classes, wish.any());
    if (slope.defined()) logits.mul_(slope);
    if (wish.hidden_grad) {
      kernels::gemm(quant::matrix_of(logits), weight.source, 0, out.hidden_grad.data_ptr<float>() + begin * features,
                    features);
    }
    if (wish.weight_grad) {
      kernels::gemm(transposed(quant::matrix_of(logits)), h, chunk == 0 ? 0.0f : 1.0f,
                    out.weight_grad.data_ptr<float>(), features);
    }
  }
  out.loss = at::scalar_tensor(loss, at::kDouble);
  return out;
}

/// How the product h Wᵀ is cut: rows of h at a time, and columns of the vocabulary at a time where W must be converted
/// to the compute dtype (a converted copy of a whole 152k-row head would cost more than all else).
struct Cut {
  std::int64_t rows, columns;
};

Cut cut_for(std::int64_t rows, std::int64_t vocabulary, std::int64_t features, bool converts, std::int64_t budget) {
  const std::int64_t item = sizeof(float);
  // Without conversion all the budget is logits (they are turned into their gradient in place), else half of it. A
  // second float row of scratch goes with reduced-precision logits: count two.
  const std::int64_t for_logits = converts ? budget / 4 : budget / 2;
  Cut cut{std::clamp<std::int64_t>(for_logits / (vocabulary * item), 1, rows), vocabulary};
  if (converts) cut.columns = std::clamp<std::int64_t>(budget / 2 / (features * item), 64, vocabulary);
  return cut;
}

/// Calls body(first column, W of those columns in `dtype`).
template <class Body>
void over_columns(const at::Tensor& weight, std::int64_t step, at::ScalarType dtype, const Body& body) {
  for (std::int64_t begin = 0; begin < weight.size(0); begin += step) {
    const auto columns = std::min(step, weight.size(0) - begin);
    body(begin, weight.narrow(0, begin, columns).to(dtype));
  }
}

/// sum += gᵀ h, in float32 whatever h's dtype: a chunk is one of many, and a bfloat16 sum would lose the later ones.
void add_weight_gradient(at::Tensor& sum, const at::Tensor& g, const at::Tensor& h) {
  if (h.scalar_type() == at::kFloat) {
    sum.addmm_(g.t(), h);
  } else {
    sum.add_(at::mm(g.t().to(h.scalar_type()), h));
  }
}

/// out = g W. Parts are added up in float32: a bfloat16 sum would round at each of them.
void hidden_gradient(at::Tensor out, const at::Tensor& g, const at::Tensor& weight, std::int64_t step) {
  const auto dtype = out.scalar_type();
  const bool direct = dtype == at::kFloat || step >= weight.size(0);
  auto sum = direct ? out : at::zeros(out.sizes(), out.options().dtype(at::kFloat));
  over_columns(weight, step, dtype, [&](std::int64_t column, const at::Tensor& part) {
    const auto slice = g.narrow(1, column, part.size(0)).to(dtype);
    if (!direct) {
      sum.add_(at::mm(slice, part));
    } else if (column == 0) {
      at::mm_out(out, slice, part);
    } else {
      out.addmm_(slice, part);
    }
  });
  if (!direct) out.copy_(sum);
}

Outcome composed(const at::Tensor& hidden, const quant::StoredWeight& stored, const at::Tensor& labels,
                 std::int64_t budget, double softcap, const Wish& wish) {
  if (softcap > 0) budget /= 2;
  const auto dtype = hidden.scalar_type();
  const auto weight = stored.quantized() ? quant::dequantize(stored, dtype) : stored.data();
  const auto cut = cut_for(hidden.size(0), weight.size(0), weight.size(1), weight.scalar_type() != dtype, budget);
  Outcome out;
  if (wish.hidden_grad) out.hidden_grad = at::empty_like(hidden);
  if (wish.weight_grad) out.weight_grad = at::zeros(weight.sizes(), weight.options().dtype(at::kFloat));
  out.loss = at::zeros({}, hidden.options().dtype(at::kDouble));
  for (std::int64_t begin = 0; begin < hidden.size(0); begin += cut.rows) {
    const auto rows = std::min(cut.rows, hidden.size(0) - begin);
    const auto h = hidden.narrow(0, begin, rows);
    const auto target = labels.narrow(0, begin, rows).unsqueeze(1);
    auto logits = at::empty({rows, weight.size(0)}, hidden.options().dtype(at::kFloat));
    over_columns(weight, cut.columns, dtype, [&](std::int64_t column, const at::Tensor& part) {
      auto slot = logits.narrow(1, column, part.size(0));
      if (dtype == at::kFloat) {
        at::mm_out(slot, h, part.t());
      } else {
        slot.copy_(at::mm(h, part.t()));
      }
    });
    const auto slope = softcap > 0 ? cap(logits, softcap, wish.any()) : at::Tensor();
    const auto chosen = logits.gather(1, target);
    const auto top = std::get<0>(logits.max(1, true));
    logits.sub_(top).exp_();
    const auto sum = logits.sum(1, true);
    out.loss.add_((sum.log() + top - chosen).sum(at::kDouble));
    if (!wish.any()) continue;
    // d loss / d logits = softmax − one-hot
    logits.div_(sum);
    logits.scatter_add_(1, target, at::full_like(chosen, -1.0));
    if (slope.defined()) logits.mul_(slope);
    if (wish.hidden_grad) hidden_gradient(out.hidden_grad.narrow(0, begin, rows), logits, weight, cut.columns);
    if (wish.weight_grad) add_weight_gradient(out.weight_grad, logits, h);
  }
  return out;
}

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden, const std::optional<at::Tensor>& leaf,
                            const std::shared_ptr<const quant::StoredWeight>& stored, const at::Tensor& labels,
                            std::int64_t budget, double softcap, bool wants_hidden_grad) {
    const Operation operation("lorica::linear_cross_entropy", {hidden});
    const Wish wish{wants_hidden_grad, leaf && leaf->requires_grad()};
    const bool kernel = quant::has_kernel(hidden, *stored);
    const auto out = kernel ? in_kernel(hidden.contiguous(), *stored, labels.contiguous(), budget, softcap, wish)
                            : composed(hidden, *stored, labels, budget, softcap, wish);
    ctx->saved_data["hidden_grad"] = out.hidden_grad;
    ctx->saved_data["weight_grad"] = wish.weight_grad ? out.weight_grad.to(stored->format.dtype) : at::Tensor();
    return out.loss.to(at::kFloat);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    variable_list result(7);
    // The scale (1 / tokens) stays float32: rounded to bfloat16 it would bend every gradient by the same 0.2 %. ATen's
    // CPU kernels keep a number's precision if it has no dimension, those of other devices if it has one.
    const auto scale = grads[0].is_cpu() ? grads[0] : grads[0].reshape({1});
    auto scaled = [&](const char* name) {
      const auto grad = ctx->saved_data[name].toTensor();
      return grad.defined() ? grad.mul_(scale) : grad;
    };
    result[0] = scaled("hidden_grad");
    result[1] = scaled("weight_grad");
    return result;
  }
};

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const Weight& weight, const at::Tensor& labels,
                                std::int64_t chunk_bytes, double softcap) {
  const bool wants_hidden_grad = at::GradMode::is_enabled() && hidden.requires_grad();
  return LinearCrossEntropy::apply(hidden, weight.trained() ? std::optional(weight.leaf) : std::nullopt, weight.stored,
                                   labels, chunk_bytes, softcap, wants_hidden_grad);
}

}  // namespace lorica::model
