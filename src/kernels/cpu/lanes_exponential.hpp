// e^x for vector lanes, in float32 to within 2 units in the last place.
//
// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r by its Taylor series to degree 7 (next term: 0.35⁸/8! = 5e-9 relative, under
// half a unit); then n is added to the exponent. x is clamped to ±87.3, where the result is still a normal number;
// lanes_exponential_in_range leaves that out: for other x its result is meaningless (for a NaN it is one).
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

}  // namespace
}  // namespace lorica::kernels
