#include "model/ops/elementwise.hpp"

#include <ATen/OpMathType.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/elementwise.hpp"
#include "model/ops/kernel_operand.hpp"

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor inverse_rms(const at::Tensor& x32, double eps) {
  return x32.square().mean(-1, true).add_(eps).rsqrt_();
}

at::Tensor normalize(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (kernels_take(x)) {
    const auto in = x.contiguous(), scale = weight.to(at::kFloat).contiguous();
    auto y = at::empty_like(in);
    kernels::rms_norm(in.data_ptr(), scale.data_ptr<float>(), type_of(in), in.numel() / in.size(-1), in.size(-1),
                      static_cast<float>(eps), y.data_ptr());
    return y;
  }
  const auto x32 = x.to(at::toOpMathType(x.scalar_type()));
  return (x32 * inverse_rms(x32, eps)).to(x.scalar_type()).mul(weight.to(x.scalar_type()));
}

variable_list rms_norm_gradients(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& dy, double eps,
                                 bool need_x, bool need_weight) {
  const auto in = x.contiguous(), scale = weight.to(at::kFloat).contiguous(), grad = dy.contiguous();
  at::Tensor dx, dw;
  if (need_x) dx = at::empty_like(in);
  if (need_weight) dw = at::empty({in.size(-1)}, in.options().dtype(at::kFloat));
  kernels::rms_norm_backward(in.data_ptr(), scale.data_ptr<float>(), grad.data_ptr(), type_of(in),
                             in.numel() / in.size(-1), in.size(-1), static_cast<float>(eps),
                             need_x ? dx.data_ptr() : nullptr, need_weight ? dw.data_ptr<float>() : nullptr);
  return {dx, need_weight ? dw.to(weight.scalar_type()) : dw, at::Tensor()};
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
    if (kernels_take(saved[0])) {
      return rms_norm_gradients(saved[0], saved[1], grads[0], ctx->saved_data["eps"].toDouble(),
                                ctx->needs_input_grad(0), ctx->needs_input_grad(1));
    }
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

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up) {
  if (!kernels_take(gate)) return at::silu(gate).mul_(up);
  const auto g = gate.contiguous(), u = up.contiguous();
  auto y = at::empty_like(g);
  const std::int64_t features = g.size(-1);
  kernels::swiglu(g.data_ptr(), u.data_ptr(), features, type_of(g), g.numel() / features, features, y.data_ptr());
  return y;
}

struct SwiGlu : torch::autograd::Function<SwiGlu> {
  /// `held_*`: what backward is to use; the arguments themselves, or rounded copies.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up,
                            const at::Tensor& held_gate, const at::Tensor& held_up) {
    ctx->save_for_backward({held_gate, held_up});
    return gated(gate, up);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto gate = saved[0].to(grads[0].scalar_type()), up = saved[1].to(grads[0].scalar_type());
    if (kernels_take(gate)) {
      const auto g = gate.contiguous(), u = up.contiguous(), dy = grads[0].contiguous();
      auto dgate = at::empty_like(g), dup = at::empty_like(u);
      const std::int64_t features = g.size(-1);
      kernels::swiglu_backward(g.data_ptr(), u.data_ptr(), features, dy.data_ptr(), type_of(g), g.numel() / features,
                               features, dgate.data_ptr(), dup.data_ptr());
      return {dgate, dup, at::Tensor(), at::Tensor()};
    }
    auto up_grad = at::silu(gate).mul_(grads[0]);
    auto gate_grad = at::silu_backward(grads[0] * up, gate);
    return {gate_grad, up_grad, at::Tensor(), at::Tensor()};
  }
};

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine, bool inverse) {
  if (kernels_take(x)) {
    const auto in = x.contiguous(), c = cosine.contiguous(), s = sine.contiguous();
    auto y = at::empty_like(in);
    const kernels::RotaryShape shape{in.size(0), in.size(1), in.size(2), 2 * c.size(-1), in.size(1) * in.size(2)};
    kernels::rotary(in.data_ptr(), c.data_ptr<float>(), s.data_ptr<float>(), type_of(in), shape, inverse, y.data_ptr());
    return y;
  }
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

Value swiglu(const at::Tensor& gate, const at::Tensor& up, bool selective, bool narrow) {
  const auto held = [&](const at::Tensor& x) { return narrow ? x.detach().to(at::kBFloat16) : x.detach(); };
  const auto held_gate = held(gate), held_up = held(up);
  Value result{SwiGlu::apply(gate, up, held_gate, held_up), {}};
  if (selective) {
    result.recipe = [held_gate, held_up, dtype = gate.scalar_type()] {
      return gated(held_gate.to(dtype), held_up.to(dtype));
    };
  }
  return result;
}

at::Tensor rotary(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  return Rotary::apply(x, cosine, sine);
}

}  // namespace lorica::model
