// Rotary position embedding under autograd: see elementwise.hpp.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/elementwise.hpp"
#include "model/ops/elementwise.hpp"
#include "model/ops/kernel_operand.hpp"
#include "model/scope.hpp"

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The first and second members of the pairs that turn together, views of x.
std::pair<at::Tensor, at::Tensor> pairs_of(const at::Tensor& x, std::int64_t half, bool interleaved) {
  if (interleaved) return {x.slice(-1, 0, 2 * half, 2), x.slice(-1, 1, 2 * half, 2)};
  return {x.narrow(-1, 0, half), x.narrow(-1, half, half)};
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine, bool interleaved,
                  bool inverse) {
  const Operation operation(inverse ? "lorica::rotary_backward" : "lorica::rotary", {x});
  if (kernels_take(x) && !interleaved) {
    const auto in = x.contiguous(), c = cosine.contiguous(), s = sine.contiguous();
    auto y = at::empty_like(in);
    const kernels::RotaryShape shape{in.size(0), in.size(1), in.size(2), 2 * c.size(-1), in.size(1) * in.size(2)};
    kernels::rotary(in.data_ptr(), c.data_ptr<float>(), s.data_ptr<float>(), type_of(in), shape, inverse, y.data_ptr());
    return y;
  }
  const auto half = cosine.size(-1), rest = x.size(-1) - 2 * half;
  const auto c = cosine.to(x.scalar_type()).unsqueeze(1), s = sine.to(x.scalar_type()).unsqueeze(1);
  const auto [first, second] = pairs_of(x, half, interleaved);
  auto out = at::empty(x.sizes(), x.options());
  auto [out_first, out_second] = pairs_of(out, half, interleaved);
  at::mul_out(out_first, first, c);
  at::mul_out(out_second, second, c);
  out_first.addcmul_(second, s, inverse ? 1 : -1);
  out_second.addcmul_(first, s, inverse ? -1 : 1);
  if (rest > 0) out.narrow(-1, 2 * half, rest).copy_(x.narrow(-1, 2 * half, rest));
  return out;
}

struct Rotary : torch::autograd::Function<Rotary> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                            bool interleaved) {
    ctx->save_for_backward({cosine, sine});
    ctx->saved_data["interleaved"] = interleaved;
    return rotate(x, cosine, sine, interleaved, false);
  }
  // A rotation's transpose is the rotation back (the tables carry one common scale, which stays).
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {rotate(grads[0], saved[0], saved[1], ctx->saved_data["interleaved"].toBool(), true), at::Tensor(),
            at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rotary(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine, bool interleaved) {
  return Rotary::apply(x, cosine, sine, interleaved);
}

}  // namespace lorica::model
