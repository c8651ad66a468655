// e^x for vector lanes, in float32 to within 2 units in the last place; tanh(x) to within 3.
//
// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r by its Taylor series to degree 7 (next term: 0.35⁸/8! = 5e-9 relative, under
// half a unit); then n is added to the exponent. x is clamped to ±87.3, where the result is still a normal number;
// lanes_exponential_in_range leaves that out: for other x its result is meaningless (for a NaN it is one).
//
// tanh(x) = 1 − 2 / (1 + e^(2x)) loses its digits where x is small: below 0.65 it is x + x³ p(x²) with p of degree 4,
// interpolated in Chebyshev's points (relative error below 2⁻²⁴).
#pragma once

namespace lorica::kernels {
namespace {

template <class L>
[[gnu::always_inline]] inline typename L::Float lanes_exponential_in_range(typename L::Float x) {
  const auto n = L::nearest(L::multiply(x, L::set(1.44269504f)));
  // ln 2 in two parts; the first has few enough bits that n times it is exact.
  auto r = L::multiply_add(n, L::set(-0.693359375f), x);
  r = L::multiply_add(n, L::set(2.12194440e-4f), r);
  auto p = L::set(1.0f / 5040);
  for (const float coefficient : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) {
    p = L::multiply_add(p, r, L::set(coefficient));
  }
  return L::scale_by_power_of_two(p, n);
}

template <class L>
[[gnu::always_inline]] inline typename L::Float lanes_exponential(typename L::Float x) {
  return lanes_exponential_in_range<L>(L::clamp(x, -87.3f, 87.3f));
}

template <class L>
[[gnu::always_inline]] inline typename L::Float lanes_tanh(typename L::Float x) {
  constexpr float kSmall = 0.65f;
  const auto one = L::set(1.0f);
  const auto e = lanes_exponential<L>(L::add(x, x));
  const auto wide = L::subtract(one, L::divide(L::set(2.0f), L::add(one, e)));
  const auto t = L::clamp(x, -kSmall, kSmall), square = L::multiply(t, t);
  auto p = L::set(-0.005923726f);
  for (const float coefficient : {0.020873461f, -0.053823758f, 0.13332583f, -0.33333328f}) {
    p = L::multiply_add(p, square, L::set(coefficient));
  }
  const auto near = L::multiply_add(L::multiply(t, square), p, t);
  const auto magnitude = L::max(x, L::subtract(L::set(0.0f), x));
  return L::add(near, L::zero_below(L::subtract(wide, near), magnitude, kSmall));
}

}  // namespace
}  // namespace lorica::kernels
