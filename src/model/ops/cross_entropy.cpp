#include "model/ops/cross_entropy.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

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

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden, const std::optional<at::Tensor>& leaf,
                            const std::shared_ptr<const quant::StoredWeight>& stored, const at::Tensor& labels,
                            std::int64_t budget, bool wants_hidden_grad) {
    const bool wants_weight_grad = leaf && leaf->requires_grad();
    const auto dtype = hidden.scalar_type();
    const auto weight = stored->quantized() ? quant::dequantize(*stored, dtype) : stored->data;
    const auto cut = cut_for(hidden.size(0), weight.size(0), weight.size(1), weight.scalar_type() != dtype, budget);
    const bool wants_grad = wants_hidden_grad || wants_weight_grad;
    at::Tensor hidden_grad, weight_grad;
    if (wants_hidden_grad) hidden_grad = at::empty_like(hidden);
    if (wants_weight_grad) weight_grad = at::zeros(weight.sizes(), weight.options().dtype(at::kFloat));
    auto loss = at::zeros({}, hidden.options().dtype(at::kDouble));

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
      const auto chosen = logits.gather(1, target);
      const auto top = std::get<0>(logits.max(1, true));
      logits.sub_(top).exp_();
      const auto sum = logits.sum(1, true);
      loss.add_((sum.log() + top - chosen).sum(at::kDouble));
      if (!wants_grad) continue;
      // d loss / d logits = softmax − one-hot
      logits.div_(sum);
      logits.scatter_add_(1, target, at::full_like(chosen, -1.0));
      if (wants_hidden_grad) {
        auto out = hidden_grad.narrow(0, begin, rows);
        // Parts are added up in float32: a bfloat16 sum would round at each of them.
        const bool direct = dtype == at::kFloat || cut.columns >= weight.size(0);
        auto sum_of_parts = direct ? out : at::zeros(out.sizes(), out.options().dtype(at::kFloat));
        over_columns(weight, cut.columns, dtype, [&](std::int64_t column, const at::Tensor& part) {
          const auto g = logits.narrow(1, column, part.size(0)).to(dtype);
          if (!direct) {
            sum_of_parts.add_(at::mm(g, part));
          } else if (column == 0) {
            at::mm_out(out, g, part);
          } else {
            out.addmm_(g, part);
          }
        });
        if (!direct) out.copy_(sum_of_parts);
      }
      if (wants_weight_grad) add_weight_gradient(weight_grad, logits, h);
    }
    if (wants_weight_grad) weight_grad = weight_grad.to(weight.scalar_type());
    ctx->saved_data["hidden_grad"] = hidden_grad;
    ctx->saved_data["weight_grad"] = weight_grad;
    return loss.to(at::kFloat);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    variable_list result(6);
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
                                std::int64_t chunk_bytes) {
  const bool wants_hidden_grad = at::GradMode::is_enabled() && hidden.requires_grad();
  return LinearCrossEntropy::apply(hidden, weight.trained() ? std::optional(weight.leaf) : std::nullopt, weight.stored,
                                   labels, chunk_bytes, wants_hidden_grad);
}

}  // namespace lorica::model
