#include "model/ops/elementwise.hpp"

#include <ATen/OpMathType.h>
#include <torch/csrc/autograd/custom_function.h>

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor inverse_rms(const at::Tensor& x32, double eps) {
  return x32.square().mean(-1, true).add_(eps).rsqrt_();
}

at::Tensor normalize(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const auto x32 = x.to(at::toOpMathType(x.scalar_type()));
  return (x32 * inverse_rms(x32, eps)).to(x.scalar_type()).mul(weight.to(x.scalar_type()));
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, double eps) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["eps"] = eps;
    return normalize(x, weight, eps);
  }

  // With n = x·r, r = (mean(x²)+eps)^(−1/2), g = dy·w:  dx = r · (g − n · mean(g·n)),  dw = Σ_rows dy·n.
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto wide = at::toOpMathType(saved[0].scalar_type());
    const auto x32 = saved[0].to(wide);
    const auto r = inverse_rms(x32, ctx->saved_data["eps"].toDouble());
    const auto n = x32 * r;
    const auto dy = grads[0].to(wide);
    at::Tensor dx, dw;
    if (ctx->needs_input_grad(0)) {
      auto g = dy * saved[1].to(wide);
      const auto projection = (g * n).mean(-1, true);
      dx = g.sub_(n * projection).mul_(r).to(saved[0].scalar_type());
    }
    if (ctx->needs_input_grad(1)) {
      dw = (dy * n).reshape({-1, n.size(-1)}).sum(0).to(saved[1].scalar_type());
    }
    return {dx, dw, at::Tensor()};
  }
};

struct SwiGlu : torch::autograd::Function<SwiGlu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    return at::silu(gate).mul_(up);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& gate = saved[0];
    auto up_grad = at::silu(gate).mul_(grads[0]);
    auto gate_grad = at::silu_backward(grads[0] * saved[1], gate);
    return {gate_grad, up_grad};
  }
};

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine, bool inverse) {
  const auto half = cosine.size(-1), rest = x.size(-1) - 2 * half;
  const auto c = cosine.to(x.scalar_type()).unsqueeze(1), s = sine.to(x.scalar_type()).unsqueeze(1);
  const auto first = x.narrow(-1, 0, half), second = x.narrow(-1, half, half);
  auto out = at::empty(x.sizes(), x.options());
  auto out_first = out.narrow(-1, 0, half), out_second = out.narrow(-1, half, half);
  at::mul_out(out_first, first, c);
  at::mul_out(out_second, second, c);
  out_first.addcmul_(second, s, inverse ? 1 : -1);
  out_second.addcmul_(first, s, inverse ? -1 : 1);
  if (rest > 0) out.narrow(-1, 2 * half, rest).copy_(x.narrow(-1, 2 * half, rest));
  return out;
}

struct Rotary : torch::autograd::Function<Rotary> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cosine,
                            const at::Tensor& sine) {
    ctx->save_for_backward({cosine, sine});
    return rotate(x, cosine, sine, false);
  }
  // A rotation's transpose is the rotation back (the tables carry one common scale, which stays).
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {rotate(grads[0], saved[0], saved[1], true), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

Value rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, bool selective) {
  Value result{RmsNorm::apply(x, weight, eps), {}};
  if (selective) {
    result.recipe = [x = x.detach(), weight = weight.detach(), eps] { return normalize(x, weight, eps); };
  }
  return result;
}

Value swiglu(const at::Tensor& gate, const at::Tensor& up, bool selective) {
  Value result{SwiGlu::apply(gate, up), {}};
  if (selective) {
    result.recipe = [gate = gate.detach(), up = up.detach()] { return at::silu(gate).mul_(up); };
  }
  return result;
}

at::Tensor rotary(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  return Rotary::apply(x, cosine, sine);
}

}  // namespace lorica::model
