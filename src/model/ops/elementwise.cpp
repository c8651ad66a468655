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

at::Tensor normalize(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const Operation operation("lorica::rms_norm", {x});
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

struct NormGradients {
  at::Tensor dx, dweight;  ///< undefined where not wanted
};

/// With n = x·r, r = (mean(x²)+eps)^(−1/2), g = dy·w:  dx = r · (g − n · mean(g·n)) + dsum,  dw = Σ_rows dy·n.
/// `dsum`: what reaches x past the norm, or undefined.
NormGradients norm_gradients(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& dy,
                             const at::Tensor& dsum, double eps, bool want_x, bool want_weight) {
  const Operation operation("lorica::rms_norm_backward", {x});
  NormGradients result;
  if (kernels_take(x)) {
    const auto in = x.contiguous(), scale = weight.to(at::kFloat).contiguous(), grad = dy.contiguous();
    const auto past = dsum.defined() ? dsum.contiguous() : at::Tensor();
    if (want_x) result.dx = at::empty_like(in);
    if (want_weight) result.dweight = at::empty({in.size(-1)}, in.options().dtype(at::kFloat));
    kernels::rms_norm_backward(in.data_ptr(), scale.data_ptr<float>(), grad.data_ptr(),
                               past.defined() ? past.data_ptr() : nullptr, type_of(in), in.numel() / in.size(-1),
                               in.size(-1), static_cast<float>(eps), want_x ? result.dx.data_ptr() : nullptr,
                               want_weight ? result.dweight.data_ptr<float>() : nullptr);
    if (want_weight) result.dweight = result.dweight.to(weight.scalar_type());
    return result;
  }
  const auto wide = at::toOpMathType(x.scalar_type());
  const auto x32 = x.to(wide);
  const auto r = inverse_rms(x32, eps);
  const auto n = x32 * r;
  const auto g = dy.to(wide);
  if (want_x) {
    auto scaled = g * weight.to(wide);
    const auto projection = (scaled * n).mean(-1, true);
    scaled.sub_(n * projection).mul_(r);
    if (dsum.defined()) scaled.add_(dsum);
    result.dx = scaled.to(x.scalar_type());
  }
  if (want_weight) result.dweight = (g * n).reshape({-1, n.size(-1)}).sum(0).to(weight.scalar_type());
  return result;
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, double eps) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["eps"] = eps;
    return normalize(x, weight, eps);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto result = norm_gradients(saved[0], saved[1], grads[0], {}, ctx->saved_data["eps"].toDouble(),
                                       ctx->needs_input_grad(0), ctx->needs_input_grad(1));
    return {result.dx, result.dweight, at::Tensor()};
  }
};

/// x + change; its norm too, if a weight is given.
std::pair<at::Tensor, at::Tensor> sum_and_norm(const at::Tensor& x, const at::Tensor& change, const at::Tensor& weight,
                                               double eps) {
  const Operation operation("lorica::add_rms_norm", {x});
  if (!kernels_take(x)) {
    auto sum = x + change;
    return {sum, weight.defined() ? normalize(sum, weight, eps) : at::Tensor()};
  }
  const auto in = x.contiguous(), added = change.contiguous();
  const auto scale = weight.defined() ? weight.to(at::kFloat).contiguous() : at::Tensor();
  auto sum = at::empty_like(in), y = weight.defined() ? at::empty_like(in) : at::Tensor();
  kernels::add_rms_norm(in.data_ptr(), added.data_ptr(), scale.defined() ? scale.data_ptr<float>() : nullptr,
                        type_of(in), in.numel() / in.size(-1), in.size(-1), static_cast<float>(eps), sum.data_ptr(),
                        y.defined() ? y.data_ptr() : nullptr);
  return {sum, y};
}

/// Inputs: x, weight and, if anything is added, the change. Results: the stream, its norm.
struct AddRmsNorm : torch::autograd::Function<AddRmsNorm> {
  static variable_list forward(AutogradContext* ctx, at::TensorList inputs, double eps) {
    const auto& weight = inputs[1];
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["adds"] = inputs.size() > 2;
    auto result = inputs.size() == 2 ? std::pair(inputs[0], normalize(inputs[0], weight, eps))
                                     : sum_and_norm(inputs[0], inputs[2], weight, eps);
    ctx->save_for_backward({result.first, weight});
    return {result.first, result.second};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const bool adds = ctx->saved_data["adds"].toBool();
    const bool wants_stream = ctx->needs_input_grad(0) || (adds && ctx->needs_input_grad(2));
    const auto result = norm_gradients(saved[0], saved[1], grads[1], grads[0], ctx->saved_data["eps"].toDouble(),
                                       wants_stream, ctx->needs_input_grad(1));
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

/// Gate and up as backward uses them, which may be narrower than what is computed with.
struct Gated {
  at::Tensor gate, up;  ///< [..., features]

  std::int64_t features() const { return gate.size(-1); }
  std::int64_t rows() const { return gate.numel() / features(); }
  kernels::GatedInput input() const { return {gate.data_ptr(), up.data_ptr(), type_of(gate)}; }
  Gated to(at::ScalarType dtype) const { return {gate.to(dtype), up.to(dtype)}; }
};

/// silu(gate) ⊙ up in `dtype`. `kept`: where to put the input rounded to bfloat16, or null.
at::Tensor gated(const Gated& in, at::ScalarType dtype, Gated* kept = nullptr) {
  const Operation operation("lorica::swiglu", {in.gate});
  if (kernels_take(in.gate)) {
    auto y = at::empty(in.gate.sizes(), in.gate.options().dtype(dtype));
    if (kept)
      *kept = {at::empty(y.sizes(), y.options().dtype(at::kBFloat16)),
               at::empty(y.sizes(), y.options().dtype(at::kBFloat16))};
    const auto held = [](const at::Tensor& x) { return static_cast<std::uint16_t*>(x.data_ptr()); };
    kernels::swiglu(in.input(), in.rows(), in.features(), type_of(y), y.data_ptr(), kept ? held(kept->gate) : nullptr,
                    kept ? held(kept->up) : nullptr);
    return y;
  }
  if (kept) *kept = in.to(at::kBFloat16);
  const auto wide = in.to(dtype);
  return at::silu(wide.gate).mul_(wide.up);
}

struct SwiGlu : torch::autograd::Function<SwiGlu> {
  /// `kept` gets what backward will use: the input, or bfloat16 copies if `narrow`.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up, bool narrow,
                            Gated* kept) {
    const Gated in{gate.detach().contiguous(), up.detach().contiguous()};
    *kept = in;
    const auto y = gated(in, gate.scalar_type(), narrow ? kept : nullptr);
    ctx->save_for_backward({kept->gate, kept->up});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Gated in{saved[0], saved[1]};
    const Operation operation("lorica::swiglu_backward", {in.gate});
    if (kernels_take(in.gate) && kernels_take(grads[0])) {
      const auto dy = grads[0].contiguous();
      auto dgate = at::empty_like(dy), dup = at::empty_like(dy);
      kernels::swiglu_backward(in.input(), dy.data_ptr(), type_of(dy), in.rows(), in.features(), dgate.data_ptr(),
                               dup.data_ptr());
      return {dgate, dup, at::Tensor(), at::Tensor()};
    }
    const auto [gate, up] = in.to(grads[0].scalar_type());
    auto up_grad = at::silu(gate).mul_(grads[0]);
    auto gate_grad = at::silu_backward(grads[0] * up, gate);
    return {gate_grad, up_grad, at::Tensor(), at::Tensor()};
  }
};

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine, bool inverse) {
  const Operation operation(inverse ? "lorica::rotary_backward" : "lorica::rotary", {x});
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

Branch add_rms_norm(const at::Tensor& x, const at::Tensor& change, const at::Tensor& weight, double eps,
                    bool selective) {
  std::vector<at::Tensor> inputs{x, weight};
  if (change.defined()) inputs.push_back(change);
  const auto results = AddRmsNorm::apply(at::TensorList(inputs), eps);
  Branch branch{results[0], {results[1], {}}};
  if (selective) {
    branch.normalized.recipe = [stream = results[0].detach(), weight = weight.detach(), eps] {
      return normalize(stream, weight, eps);
    };
  }
  return branch;
}

at::Tensor residual_sum(const at::Tensor& x, const at::Tensor& change) {
  return Add::apply(x, change);
}

Value swiglu(const at::Tensor& gate, const at::Tensor& up, bool selective, bool narrow) {
  Gated kept;
  Value result{SwiGlu::apply(gate, up, narrow, &kept), {}};
  if (selective) result.recipe = [kept, dtype = gate.scalar_type()] { return gated(kept, dtype); };
  return result;
}

at::Tensor rotary(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  return Rotary::apply(x, cosine, sine);
}

}  // namespace lorica::model
