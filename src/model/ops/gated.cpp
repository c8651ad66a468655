// Gated and plain activations under autograd: see elementwise.hpp.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "kernels/elementwise.hpp"
#include "model/ops/elementwise.hpp"
#include "model/ops/kernel_operand.hpp"
#include "model/scope.hpp"

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::optional<kernels::Gate> kernel_of(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::silu:
      return kernels::Gate::silu;
    case ActivationKind::gelu_tanh:
      return kernels::Gate::gelu_tanh;
    case ActivationKind::gelu:
      return std::nullopt;
  }
  return std::nullopt;
}

at::Tensor activate(const at::Tensor& x, ActivationKind kind) {
  if (kind == ActivationKind::silu) return at::silu(x);
  return at::gelu(x, kind == ActivationKind::gelu_tanh ? "tanh" : "none");
}

at::Tensor activate_backward(const at::Tensor& dy, const at::Tensor& x, ActivationKind kind) {
  if (kind == ActivationKind::silu) return at::silu_backward(dy, x);
  return at::gelu_backward(dy, x, kind == ActivationKind::gelu_tanh ? "tanh" : "none");
}

/// Gate and up as backward uses them, which may be narrower than what is computed with.
struct Gated {
  at::Tensor gate, up;  ///< [..., features]; both contiguous, or the halves of one contiguous tensor

  static Gated halves(const at::Tensor& both) {
    const auto features = both.size(-1) / 2;
    return {both.narrow(-1, 0, features), both.narrow(-1, features, features)};
  }
  std::int64_t features() const { return gate.size(-1); }
  std::int64_t rows() const { return gate.numel() / features(); }
  std::int64_t stride() const { return gate.is_contiguous() ? features() : gate.stride(-2); }
  kernels::GatedInput input() const { return {gate.data_ptr(), up.data_ptr(), type_of(gate), stride()}; }
  Gated to(at::ScalarType dtype) const { return {gate.to(dtype), up.to(dtype)}; }
};

/// f(gate) ⊙ up in `dtype`. `kept`: where to put the input rounded to bfloat16, or null.
at::Tensor gated_product(const Gated& in, ActivationKind kind, at::ScalarType dtype, Gated* kept = nullptr) {
  const Operation operation("lorica::gated", {in.gate});
  const auto kernel = kernel_of(kind);
  if (kernels_take(in.gate) && kernel) {
    auto y = at::empty(in.gate.sizes(), in.gate.options().dtype(dtype));
    if (kept)
      *kept = {at::empty(y.sizes(), y.options().dtype(at::kBFloat16)),
               at::empty(y.sizes(), y.options().dtype(at::kBFloat16))};
    const auto held = [](const at::Tensor& x) { return static_cast<std::uint16_t*>(x.data_ptr()); };
    kernels::gated(in.input(), *kernel, in.rows(), in.features(), type_of(y), y.data_ptr(),
                   kept ? held(kept->gate) : nullptr, kept ? held(kept->up) : nullptr);
    return y;
  }
  if (kept) *kept = in.to(at::kBFloat16);
  const auto wide = in.to(dtype);
  return activate(wide.gate, kind).mul_(wide.up);
}

/// Writes the gradients of both to `out`.
void gated_gradients(const Gated& in, ActivationKind kind, const at::Tensor& grad, const Gated& out) {
  const Operation operation("lorica::gated_backward", {in.gate});
  const auto kernel = kernel_of(kind);
  if (kernels_take(in.gate) && kernels_take(grad) && kernel) {
    const auto dy = grad.contiguous();
    kernels::gated_backward(in.input(), *kernel, dy.data_ptr(), type_of(dy), in.rows(), in.features(),
                            {out.gate.data_ptr(), out.up.data_ptr(), out.stride()});
    return;
  }
  const auto [gate, up] = in.to(grad.scalar_type());
  out.up.copy_(activate(gate, kind).mul_(grad));
  out.gate.copy_(activate_backward(grad * up, gate, kind));
}

/// Of two tensors, or of one that holds both: see `inputs`.
struct GatedProduct : torch::autograd::Function<GatedProduct> {
  /// `kept` gets what backward will use: the input, or bfloat16 copies if `narrow`.
  static at::Tensor forward(AutogradContext* ctx, at::TensorList inputs, ActivationKind kind, bool narrow,
                            Gated* kept) {
    const bool fused = inputs.size() == 1;
    const Gated in = fused ? Gated::halves(inputs[0].detach().contiguous())
                           : Gated{inputs[0].detach().contiguous(), inputs[1].detach().contiguous()};
    *kept = in;
    const auto y = gated_product(in, kind, inputs[0].scalar_type(), narrow ? kept : nullptr);
    ctx->save_for_backward({kept->gate, kept->up});
    ctx->saved_data["kind"] = static_cast<std::int64_t>(kind);
    ctx->saved_data["fused"] = fused;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Gated in{saved[0], saved[1]};
    const auto kind = static_cast<ActivationKind>(ctx->saved_data["kind"].toInt());
    const auto empty = [&](std::int64_t columns) {
      auto sizes = grads[0].sizes().vec();
      sizes.back() = columns;
      return at::empty(sizes, grads[0].options());
    };
    variable_list result;
    if (ctx->saved_data["fused"].toBool()) {
      result = {empty(2 * in.features())};
      gated_gradients(in, kind, grads[0], Gated::halves(result[0]));
    } else {
      result = {empty(in.features()), empty(in.features())};
      gated_gradients(in, kind, grads[0], {result[0], result[1]});
    }
    result.resize(result.size() + 3);  // kind, narrow and kept have none
    return result;
  }
};

Value gated_of(std::vector<at::Tensor> inputs, ActivationKind kind, const Keeping& keeping) {
  Gated kept;
  Value result{GatedProduct::apply(at::TensorList(inputs), kind, keeping.narrow, &kept), {}};
  if (keeping.selective) {
    result.recipe = [kept, kind, dtype = inputs[0].scalar_type()] { return gated_product(kept, kind, dtype); };
  }
  return result;
}

}  // namespace

Value gated(const at::Tensor& gate, const at::Tensor& up, ActivationKind kind, const Keeping& keeping) {
  return gated_of({gate, up}, kind, keeping);
}

Value gated(const at::Tensor& gate_and_up, ActivationKind kind, const Keeping& keeping) {
  return gated_of({gate_and_up}, kind, keeping);
}

Value activated(const at::Tensor& x, ActivationKind kind, const Keeping& keeping) {
  Value result{activate(x, kind), {}};
  if (keeping.selective) result.recipe = [x = x.detach(), kind] { return activate(x, kind); };
  return result;
}

}  // namespace lorica::model
