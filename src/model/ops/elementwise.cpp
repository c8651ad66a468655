#include "model/ops/elementwise.hpp"

#include <ATen/OpMathType.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/elementwise.hpp"
#include "model/ops/kernel_operand.hpp"
#include "model/scope.hpp"

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor inverse_rms(const at::Tensor& x32, double eps) {
  return x32.square().mean(-1, true).add_(eps).rsqrt_();
}

/// What the normalized rows are multiplied with, contiguous.
at::Tensor factor_of(const at::Tensor& weight, at::ScalarType dtype, const RmsRule& rule) {
  const auto wide = weight.to(dtype).contiguous();
  return rule.plus_one ? wide + 1 : wide;
}

kernels::RmsRule kernel_rule(const RmsRule& rule) {
  return {static_cast<float>(rule.eps), rule.rounds_first};
}

at::Tensor normalize(const at::Tensor& x, const at::Tensor& weight, const RmsRule& rule) {
  const Operation operation("lorica::rms_norm", {x});
  if (kernels_take(x)) {
    const auto in = x.contiguous(), factor = factor_of(weight, at::kFloat, rule);
    auto y = at::empty_like(in);
    kernels::rms_norm(in.data_ptr(), factor.data_ptr<float>(), type_of(in), in.numel() / in.size(-1), in.size(-1),
                      kernel_rule(rule), y.data_ptr());
    return y;
  }
  const auto x32 = x.to(at::toOpMathType(x.scalar_type()));
  const auto unit = x32 * inverse_rms(x32, rule.eps);
  if (!rule.rounds_first) return (unit * factor_of(weight, unit.scalar_type(), rule)).to(x.scalar_type());
  return unit.to(x.scalar_type()).mul(factor_of(weight, x.scalar_type(), rule));
}

struct NormGradients {
  at::Tensor dx, dweight;  ///< undefined where not wanted
};

/// With n = x·r, r = (mean(x²)+eps)^(−1/2), g = dy·w:  dx = r · (g − n · mean(g·n)) + dsum,  dw = Σ_rows dy·n.
/// `dsum`: what reaches x past the norm, or undefined.
NormGradients norm_gradients(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& dy,
                             const at::Tensor& dsum, const RmsRule& rule, bool want_x, bool want_weight) {
  const Operation operation("lorica::rms_norm_backward", {x});
  NormGradients result;
  if (kernels_take(x)) {
    const auto in = x.contiguous(), factor = factor_of(weight, at::kFloat, rule), grad = dy.contiguous();
    const auto past = dsum.defined() ? dsum.contiguous() : at::Tensor();
    if (want_x) result.dx = at::empty_like(in);
    if (want_weight) result.dweight = at::empty({in.size(-1)}, in.options().dtype(at::kFloat));
    kernels::rms_norm_backward(in.data_ptr(), factor.data_ptr<float>(), grad.data_ptr(),
                               past.defined() ? past.data_ptr() : nullptr, type_of(in), in.numel() / in.size(-1),
                               in.size(-1), static_cast<float>(rule.eps), want_x ? result.dx.data_ptr() : nullptr,
                               want_weight ? result.dweight.data_ptr<float>() : nullptr);
    if (want_weight) result.dweight = result.dweight.to(weight.scalar_type());
    return result;
  }
  const auto wide = at::toOpMathType(x.scalar_type());
  const auto x32 = x.to(wide);
  const auto r = inverse_rms(x32, rule.eps);
  const auto n = x32 * r;
  const auto g = dy.to(wide);
  if (want_x) {
    auto scaled = g * factor_of(weight, wide, rule);
    const auto projection = (scaled * n).mean(-1, true);
    scaled.sub_(n * projection).mul_(r);
    if (dsum.defined()) scaled.add_(dsum);
    result.dx = scaled.to(x.scalar_type());
  }
  if (want_weight) result.dweight = (g * n).reshape({-1, n.size(-1)}).sum(0).to(weight.scalar_type());
  return result;
}

void save_rule(AutogradContext* ctx, const RmsRule& rule) {
  ctx->saved_data["eps"] = rule.eps;
  ctx->saved_data["plus_one"] = rule.plus_one;
  ctx->saved_data["rounds_first"] = rule.rounds_first;
}

RmsRule saved_rule(AutogradContext* ctx) {
  return {ctx->saved_data["eps"].toDouble(), ctx->saved_data["plus_one"].toBool(),
          ctx->saved_data["rounds_first"].toBool()};
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const RmsRule& rule) {
    ctx->save_for_backward({x, weight});
    save_rule(ctx, rule);
    return normalize(x, weight, rule);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto result = norm_gradients(saved[0], saved[1], grads[0], {}, saved_rule(ctx), ctx->needs_input_grad(0),
                                       ctx->needs_input_grad(1));
    return {result.dx, result.dweight, at::Tensor()};
  }
};

/// x + change; its norm too, if a weight is given.
std::pair<at::Tensor, at::Tensor> sum_and_norm(const at::Tensor& x, const at::Tensor& change, const at::Tensor& weight,
                                               const RmsRule& rule) {
  const Operation operation("lorica::add_rms_norm", {x});
  if (!kernels_take(x)) {
    auto sum = x + change;
    return {sum, weight.defined() ? normalize(sum, weight, rule) : at::Tensor()};
  }
  const auto in = x.contiguous(), added = change.contiguous();
  const auto factor = weight.defined() ? factor_of(weight, at::kFloat, rule) : at::Tensor();
  auto sum = at::empty_like(in), y = weight.defined() ? at::empty_like(in) : at::Tensor();
  kernels::add_rms_norm(in.data_ptr(), added.data_ptr(), factor.defined() ? factor.data_ptr<float>() : nullptr,
                        type_of(in), in.numel() / in.size(-1), in.size(-1), kernel_rule(rule), sum.data_ptr(),
                        y.defined() ? y.data_ptr() : nullptr);
  return {sum, y};
}

/// Inputs: x, weight and, if anything is added, the change. Results: the stream, its norm.
struct AddRmsNorm : torch::autograd::Function<AddRmsNorm> {
  static variable_list forward(AutogradContext* ctx, at::TensorList inputs, const RmsRule& rule) {
    const auto& weight = inputs[1];
    save_rule(ctx, rule);
    ctx->saved_data["adds"] = inputs.size() > 2;
    auto result = inputs.size() == 2 ? std::pair(inputs[0], normalize(inputs[0], weight, rule))
                                     : sum_and_norm(inputs[0], inputs[2], weight, rule);
    ctx->save_for_backward({result.first, weight});
    return {result.first, result.second};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const bool adds = ctx->saved_data["adds"].toBool();
    const bool wants_stream = ctx->needs_input_grad(0) || (adds && ctx->needs_input_grad(2));
    const auto result =
        norm_gradients(saved[0], saved[1], grads[1], grads[0], saved_rule(ctx), wants_stream, ctx->needs_input_grad(1));
    if (!adds) return {result.dx, result.dweight, at::Tensor()};
    return {result.dx, result.dweight, result.dx, at::Tensor()};
  }
};

struct Add : torch::autograd::Function<Add> {
  static at::Tensor forward(AutogradContext*, const at::Tensor& x, const at::Tensor& change) {
    return sum_and_norm(x, change, {}, 0).first;
  }
  static variable_list backward(AutogradContext*, variable_list grads) { return {grads[0], grads[0]}; }
};

}  // namespace

Value rms_norm(const at::Tensor& x, const at::Tensor& weight, const RmsRule& rule, bool selective) {
  Value result{RmsNorm::apply(x, weight, rule), {}};
  if (selective) {
    result.recipe = [x = x.detach(), weight = weight.detach(), rule] { return normalize(x, weight, rule); };
  }
  return result;
}

Branch add_rms_norm(const at::Tensor& x, const at::Tensor& change, const at::Tensor& weight, const RmsRule& rule,
                    bool selective) {
  std::vector<at::Tensor> inputs{x, weight};
  if (change.defined()) inputs.push_back(change);
  const auto results = AddRmsNorm::apply(at::TensorList(inputs), rule);
  Branch branch{results[0], {results[1], {}}};
  if (selective) {
    branch.normalized.recipe = [stream = results[0].detach(), weight = weight.detach(), rule] {
      return normalize(stream, weight, rule);
    };
  }
  return branch;
}

at::Tensor residual_sum(const at::Tensor& x, const at::Tensor& change) {
  return Add::apply(x, change);
}

}  // namespace lorica::model
