// The element-wise kernels, written once over "lanes" (one float, or a vector of 8 or 16). Internal to kernels/: each
// instruction set's file includes it and instantiates it with its own lanes. Formulas: kernels/elementwise.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/dropout_hash.hpp"
#include "kernels/elementwise_impl.hpp"
#include "kernels/lanes_scalar.hpp"

namespace lorica::kernels {
namespace {

/// Calls body.operator()<Lanes>(i) for i = 0, width, 2·width … and then for the elements that are left, one by one.
template <class L, class Body>
[[gnu::always_inline]] inline void for_lanes(std::int64_t count, const Body& body) {
  std::int64_t i = 0;
  for (; i + L::kWidth <= count; i += L::kWidth) body.template operator()<L>(i);
  if constexpr (L::kWidth > 1) {
    for (; i < count; ++i) body.template operator()<ScalarLanes>(i);
  }
}

/// Σ term(i) over [0, count): lanes are summed side by side, then together, then the tail.
template <class L, class Term>
[[gnu::always_inline]] inline float sum_lanes(std::int64_t count, const Term& term) {
  auto even = L::set(0), odd = L::set(0);
  std::int64_t i = 0;
  for (; i + 2 * L::kWidth <= count; i += 2 * L::kWidth) {
    even = L::add(even, term.template operator()<L>(i));
    odd = L::add(odd, term.template operator()<L>(i + L::kWidth));
  }
  float total = L::sum(L::add(even, odd));
  for (; i < count; ++i) total += term.template operator()<ScalarLanes>(i);
  return total;
}

template <class T, class L>
[[gnu::always_inline]] inline typename L::Float rounded(typename L::Float x) {
  if constexpr (sizeof(T) == 2) return L::round_bf16(x);
  return x;
}

template <class L, class T>
float inverse_rms(const T* x, std::int64_t features, float eps) {
  const float squares = sum_lanes<L>(features, [&]<class V>(std::int64_t i) {
    const auto value = V::load(x + i);
    return V::multiply(value, value);
  });
  return 1.0f / std::sqrt(squares / static_cast<float>(features) + eps);
}

template <class L, class T>
void rms_norm_rows(const T* x, const float* weight, std::int64_t rows, std::int64_t features, const RmsRule& rule,
                   T* y) {
  for (std::int64_t row = 0; row < rows; ++row, x += features, y += features) {
    const float r = inverse_rms<L>(x, features, rule.eps);
    for_lanes<L>(features, [&]<class V>(std::int64_t i) {
      const auto n = V::multiply(V::load(x + i), V::set(r));
      V::store(y + i, V::multiply(rule.rounds_first ? rounded<T, V>(n) : n, V::load(weight + i)));
    });
  }
}

template <class L, class T>
void add_rms_norm_rows(const T* x, const T* change, const float* weight, std::int64_t rows, std::int64_t features,
                       const RmsRule& rule, T* sum, T* y) {
  for (std::int64_t row = 0; row < rows; ++row, x += features, change += features, sum += features) {
    for_lanes<L>(features,
                 [&]<class V>(std::int64_t i) { V::store(sum + i, V::add(V::load(x + i), V::load(change + i))); });
    if (!y) continue;
    rms_norm_rows<L>(sum, weight, 1, features, rule, y);
    y += features;
  }
}

template <class L, class T>
void rms_norm_backward_rows(const T* x, const float* weight, const T* dy, const T* dsum, std::int64_t rows,
                            std::int64_t features, float eps, T* dx, float* dweight) {
  for (std::int64_t row = 0; row < rows; ++row, x += features, dy += features) {
    const float r = inverse_rms<L>(x, features, eps);
    if (dweight) {
      for_lanes<L>(features, [&]<class V>(std::int64_t i) {
        const auto n = V::multiply(V::load(x + i), V::set(r));
        V::store(dweight + i, V::multiply_add(V::load(dy + i), n, V::load(dweight + i)));
      });
    }
    if (!dx) continue;
    const float projection = sum_lanes<L>(features, [&]<class V>(std::int64_t i) {
      return V::multiply(V::multiply(V::load(dy + i), V::load(weight + i)), V::load(x + i));
    });
    const float mean = projection * r / static_cast<float>(features);
    for_lanes<L>(features, [&]<class V>(std::int64_t i) {
      const auto g = V::multiply(V::load(dy + i), V::load(weight + i));
      const auto n = V::multiply(V::load(x + i), V::set(r));
      const auto centred = V::subtract(g, V::multiply(n, V::set(mean)));
      const auto past = dsum ? V::load(dsum + i) : V::set(0);
      V::store(dx + i, V::multiply_add(centred, V::set(r), past));
    });
    dx += features;
    if (dsum) dsum += features;
  }
}

template <class V>
[[gnu::always_inline]] inline typename V::Float sigmoid(typename V::Float x) {
  const auto one = V::set(1.0f);
  return V::divide(one, V::add(one, V::exponential(V::subtract(V::set(0.0f), x))));
}

/// The functions of kernels/elementwise.hpp's Gate: f(x) = x · sigmoid(v(x)).
struct SiluGate {
  template <class V>
  static typename V::Float inner(typename V::Float x) {
    return x;
  }
  template <class V>
  static typename V::Float inner_slope(typename V::Float) {
    return V::set(1.0f);
  }
};
struct GeluTanhGate {
  static constexpr float kTwice = 1.59576912f;  // 2 √(2/π)
  static constexpr float kCubic = 0.044715f;
  template <class V>
  [[gnu::always_inline]] static typename V::Float inner(typename V::Float x) {
    return V::multiply(V::multiply(V::set(kTwice), x),
                       V::multiply_add(V::multiply(V::set(kCubic), x), x, V::set(1.0f)));
  }
  template <class V>
  [[gnu::always_inline]] static typename V::Float inner_slope(typename V::Float x) {
    return V::multiply_add(V::multiply(V::set(3 * kTwice * kCubic), x), x, V::set(kTwice));
  }
};

template <class L, class F, class In, class Out>
void gated_values(const In* gate, const In* up, std::int64_t count, Out* y, std::uint16_t* kept_gate,
                  std::uint16_t* kept_up) {
  for_lanes<L>(count, [&]<class V>(std::int64_t i) {
    const auto g = V::load(gate + i), u = V::load(up + i);
    if (kept_gate) V::store(kept_gate + i, g);
    if (kept_up) V::store(kept_up + i, u);
    V::store(y + i, V::multiply(V::multiply(g, sigmoid<V>(F::template inner<V>(g))), u));
  });
}

template <class L, class F, class In, class Out>
void gated_backward_values(const In* gate, const In* up, const Out* dy, std::int64_t count, Out* dgate, Out* dup) {
  for_lanes<L>(count, [&]<class V>(std::int64_t i) {
    const auto g = V::load(gate + i), u = V::load(up + i), d = V::load(dy + i);
    const auto s = sigmoid<V>(F::template inner<V>(g)), one = V::set(1.0f);
    const auto turn = V::multiply(V::subtract(one, s), F::template inner_slope<V>(g));
    const auto slope = V::multiply(s, V::multiply_add(g, turn, one));
    V::store(dup + i, V::multiply(d, V::multiply(g, s)));
    V::store(dgate + i, V::multiply(V::multiply(d, u), slope));
  });
}

template <class L, class T>
void rotary_rows(const T* x, const float* cosine, const float* sine, const RotaryShape& shape, bool inverse, T* y) {
  const std::int64_t half = shape.rotary_size / 2, rest = shape.head_size - 2 * half;
  const float sign = inverse ? -1.0f : 1.0f;
  for (std::int64_t token = 0; token < shape.tokens; ++token, cosine += half, sine += half) {
    for (std::int64_t head = 0; head < shape.heads; ++head) {
      const T* in = x + token * shape.stride + head * shape.head_size;
      T* out = y + token * shape.stride + head * shape.head_size;
      for_lanes<L>(half, [&]<class V>(std::int64_t i) {
        const auto first = V::load(in + i), second = V::load(in + half + i);
        const auto c = V::load(cosine + i), s = V::multiply(V::set(sign), V::load(sine + i));
        V::store(out + i, V::multiply_subtract(first, c, V::multiply(second, s)));
        V::store(out + half + i, V::multiply_add(second, c, V::multiply(first, s)));
      });
      if (rest > 0 && in != out) std::memcpy(out + 2 * half, in + 2 * half, static_cast<std::size_t>(rest) * sizeof(T));
    }
  }
}

/// dropout_hash of the features from `feature` on, a lane each.
template <class V>
[[gnu::always_inline]] inline typename V::Word dropout_hashes(std::uint32_t key, std::int64_t feature) {
  auto x = V::words(key + static_cast<std::uint32_t>(feature) * kDropoutStride, kDropoutStride);
  x = V::multiply_word(V::template xor_shifted<16>(x), kDropoutMultiply1);
  x = V::multiply_word(V::template xor_shifted<15>(x), kDropoutMultiply2);
  return V::template xor_shifted<16>(x);
}

template <class L, bool kAdds, class T>
void dropout_row(const T* x, std::uint32_t key, const DropoutRule& rule, std::int64_t features, T* y) {
  const bool keeps = rule.limit <= std::numeric_limits<std::uint32_t>::max();  // a limit of 2³² is above every hash
  const auto limit = static_cast<std::uint32_t>(rule.limit);
  const float scale = rule.scale;
  for_lanes<L>(features, [&]<class V>(std::int64_t i) {
    auto kept = V::set(0);
    if (keeps) {
      kept = V::zero_below(V::multiply(V::load(x + i), V::set(scale)), dropout_hashes<V>(key, i), limit);
    }
    if constexpr (kAdds) kept = V::add(V::load(y + i), rounded<T, V>(kept));
    V::store(y + i, kept);
  });
}

template <class L>
float maximum_of(const float* x, std::int64_t count) {
  auto top = L::set(x[0]), other = top;
  std::int64_t i = 0;
  for (; i + 2 * L::kWidth <= count; i += 2 * L::kWidth) {
    top = L::max(top, L::load(x + i));
    other = L::max(other, L::load(x + i + L::kWidth));
  }
  float result = L::greatest(L::max(top, other));
  for (; i < count; ++i) result = std::max(result, x[i]);
  return result;
}

constexpr std::int64_t kSumPiece = 4096;

/// x = exp(x − top); returns the sum.
template <class L>
double exponentials(float* x, std::int64_t count, float top) {
  double total = 0;
  for (std::int64_t begin = 0; begin < count; begin += kSumPiece, x += kSumPiece) {
    total += sum_lanes<L>(std::min(kSumPiece, count - begin), [&]<class V>(std::int64_t i) {
      const auto e = V::exponential(V::subtract(V::load(x + i), V::set(top)));
      V::store(x + i, e);
      return e;
    });
  }
  return total;
}

template <class L>
void cross_entropy_rows(float* logits, const std::int64_t* labels, std::int64_t rows, std::int64_t classes,
                        bool gradient, double* losses) {
  for (std::int64_t row = 0; row < rows; ++row, logits += classes) {
    const float chosen = logits[labels[row]], top = maximum_of<L>(logits, classes);
    const double sum = exponentials<L>(logits, classes, top);
    losses[row] = std::log(sum) + (static_cast<double>(top) - chosen);
    if (!gradient) continue;
    const auto share = static_cast<float>(1.0 / sum);
    for_lanes<L>(classes, [&]<class V>(std::int64_t i) {
      V::store(logits + i, V::multiply(V::load(logits + i), V::set(share)));
    });
    logits[labels[row]] -= 1.0f;
  }
}

template <class L>
void adam_values(const AdamTensor& t) {
  const auto& step = t.step;
  for_lanes<L>(t.count, [&]<class V>(std::int64_t i) {
    const auto value = V::load(t.value + i), mean = V::load(t.mean + i), square = V::load(t.square + i);
    const auto g = V::multiply_add(V::set(step.l2), value, V::load(t.gradient + i));
    const auto m = V::multiply_add(V::set(step.mean_weight), V::subtract(g, mean), mean);
    const auto s =
        V::multiply_add(V::multiply(V::set(step.square_weight), g), g, V::multiply(V::set(step.square_keep), square));
    const auto root = V::divide(V::square_root(s), V::set(step.root_correction));
    const auto change = V::divide(V::multiply(V::set(step.step_size), m), V::add(root, V::set(step.epsilon)));
    V::store(t.mean + i, m);
    V::store(t.square + i, s);
    V::store(t.value + i, V::multiply_subtract(V::set(step.keep), value, change));
  });
}

template <class L>
double sum_of_squares(const float* x, std::int64_t count) {
  double total = 0;
  for (std::int64_t begin = 0; begin < count; begin += kSumPiece, x += kSumPiece) {
    total += sum_lanes<L>(std::min(kSumPiece, count - begin), [&]<class V>(std::int64_t i) {
      const auto value = V::load(x + i);
      return V::multiply(value, value);
    });
  }
  return total;
}

/// Calls body with a null pointer of the element's C++ type.
template <class Body>
void with_element(FloatType type, const Body& body) {
  if (type == FloatType::f32) return body(static_cast<float*>(nullptr));
  body(static_cast<std::uint16_t*>(nullptr));
}

template <class Body>
void with_elements(FloatType first, FloatType second, const Body& body) {
  with_element(first, [&](auto* in) { with_element(second, [&](auto* out) { body(in, out); }); });
}

/// Calls body with the function's type.
template <class Body>
void with_gate(Gate f, const Body& body) {
  if (f == Gate::silu) return body(SiluGate());
  body(GeluTanhGate());
}

template <class L, bool kAdds>
void dropout_row_of(const void* x, std::uint32_t key, const DropoutRule& rule, FloatType type, std::int64_t features,
                    void* y) {
  with_element(type, [&]<class T>(T*) {
    dropout_row<L, kAdds>(static_cast<const T*>(x), key, rule, features, static_cast<T*>(y));
  });
}

/// The kernels over lanes L.
template <class L>
constexpr Elementwise elementwise_over() {
  return {
      [](const void* x, const float* weight, FloatType type, std::int64_t rows, std::int64_t features,
         const RmsRule& rule, void* y) {
        with_element(type, [&]<class T>(T*) {
          rms_norm_rows<L>(static_cast<const T*>(x), weight, rows, features, rule, static_cast<T*>(y));
        });
      },
      [](const void* x, const void* change, const float* weight, FloatType type, std::int64_t rows,
         std::int64_t features, const RmsRule& rule, void* sum, void* y) {
        with_element(type, [&]<class T>(T*) {
          add_rms_norm_rows<L>(static_cast<const T*>(x), static_cast<const T*>(change), weight, rows, features, rule,
                               static_cast<T*>(sum), static_cast<T*>(y));
        });
      },
      [](const void* x, const float* weight, const void* dy, const void* dsum, FloatType type, std::int64_t rows,
         std::int64_t features, float eps, void* dx, float* dweight) {
        with_element(type, [&]<class T>(T*) {
          rms_norm_backward_rows<L>(static_cast<const T*>(x), weight, static_cast<const T*>(dy),
                                    static_cast<const T*>(dsum), rows, features, eps, static_cast<T*>(dx), dweight);
        });
      },
      [](const GatedInput& in, Gate f, std::int64_t count, FloatType type, void* y, std::uint16_t* kept_gate,
         std::uint16_t* kept_up) {
        with_gate(f, [&]<class F>(F) {
          with_elements(in.type, type, [&]<class In, class Out>(In*, Out*) {
            gated_values<L, F>(static_cast<const In*>(in.gate), static_cast<const In*>(in.up), count,
                               static_cast<Out*>(y), kept_gate, kept_up);
          });
        });
      },
      [](const GatedInput& in, Gate f, const void* dy, FloatType type, std::int64_t count, const GatedGradient& out) {
        with_gate(f, [&]<class F>(F) {
          with_elements(in.type, type, [&]<class In, class Out>(In*, Out*) {
            gated_backward_values<L, F>(static_cast<const In*>(in.gate), static_cast<const In*>(in.up),
                                        static_cast<const Out*>(dy), count, static_cast<Out*>(out.gate),
                                        static_cast<Out*>(out.up));
          });
        });
      },
      [](const void* x, const float* cosine, const float* sine, FloatType type, const RotaryShape& shape, bool inverse,
         void* y) {
        with_element(type, [&]<class T>(T*) {
          rotary_rows<L>(static_cast<const T*>(x), cosine, sine, shape, inverse, static_cast<T*>(y));
        });
      },
      dropout_row_of<L, false>,
      dropout_row_of<L, true>,
      cross_entropy_rows<L>,
      adam_values<L>,
      sum_of_squares<L>};
}

}  // namespace
}  // namespace lorica::kernels
