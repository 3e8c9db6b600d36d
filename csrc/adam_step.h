// adam_step: one step of Adam on latents [n, k, d], in place, with a learning-rate ramp per sample,
// a pull towards a mean latent, tied rows and frozen rows.
//
//   g   = sum over the rows of the group, ascending: grad + 2 lambda (w - mean) / (k d)
//   m   = m + (1 - b1) (g - m)                         v = b2 v + (1 - b2) g^2
//   w   = w - lr(t) / (1 - b1^i) * m / (sqrt(v) / sqrt(1 - b2^i) + eps)         (torch.optim.Adam)
//   lr(t) = lr (0.5 - 0.5 cos(pi min(1, (1 - t) / 0.25))) min(1, t / 0.05),  t = (i - 0.5) / steps
//
// i counts a sample's steps from 1 and t is the middle of the step: with t = i / steps either the
// first or the last step would have the rate 0. A sample past its last step (i > steps) stays put.
//
// tie[r] is the flat row index (n k) of the representative of row r; a representative names itself.
// The group takes one step, with the representative's m, v and step number, and all its rows get
// the same bits. A group with a frozen row stays put.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace vera {

constexpr double kRampUp = 0.05;    // share of the steps in which the rate rises
constexpr double kRampDown = 0.25;  // and falls

struct AdamSettings {
  std::int64_t n, k, d;
  std::int32_t steps;
  double learning_rate, beta1, beta2, eps;
  double regulariser;  // lambda
};

template <class T>
struct AdamArrays {
  T* latent;                   // [n, k, d], updated
  const T* grad;               // [n, k, d]
  T* first;                    // [n, k, d], m
  T* second;                   // [n, k, d], v
  const std::int32_t* step;    // [n]
  const T* latent_mean;        // [k, d] or null
  const std::int32_t* tie;     // [n, k] or null
  const std::uint8_t* frozen;  // [n, k] or null
};

VERA_HD double learning_rate_at(double step, double steps, double learning_rate) {
  if (step > steps) return 0;
  const double t = (step - 0.5) / steps;
  const double down = (1 - t) / kRampDown, up = t / kRampUp;
  const double cosine = 0.5 - 0.5 * cos(3.14159265358979323846 * (down < 1 ? down : 1));
  return learning_rate * cosine * (up < 1 ? up : 1);
}

// The factors of a sample's step, in double and then rounded once.
template <class T>
struct AdamFactors {
  T rate;          // lr(t) / (1 - b1^i)
  T inverse_root;  // 1 / sqrt(1 - b2^i)
  T one_minus_beta1, beta2, one_minus_beta2, eps;
};

template <class T>
VERA_HD AdamFactors<T> adam_factors(const AdamSettings& s, std::int32_t step) {
  const double rate = learning_rate_at(step, s.steps, s.learning_rate);
  return {T(rate / (1 - pow(s.beta1, double(step)))),
          T(1 / sqrt(1 - pow(s.beta2, double(step)))),
          T(1 - s.beta1),
          T(s.beta2),
          T(1 - s.beta2),
          T(s.eps)};
}

// One row's part of the group's gradient at one element.
template <class T>
VERA_HD T row_gradient(T grad, T latent, T mean, T pull) {
  return grad + pull * (latent - mean);
}

template <class T>
VERA_HD void adam_update(T& latent, T& first, T& second, T gradient, const AdamFactors<T>& f) {
  first += f.one_minus_beta1 * (gradient - first);
  second = f.beta2 * second + f.one_minus_beta2 * gradient * gradient;
  latent -= f.rate * first / (T(sqrt(second)) * f.inverse_root + f.eps);
}

// `links` is scratch: int32 [2, n k].
void adam_step_cpu(const AdamArrays<float>& arrays, const AdamSettings& settings,
                   std::int32_t* links);
void adam_step_cpu(const AdamArrays<double>& arrays, const AdamSettings& settings,
                   std::int32_t* links);
void adam_step_cuda(const AdamArrays<float>& arrays, const AdamSettings& settings, int device,
                    std::uintptr_t stream);
void adam_step_cuda(const AdamArrays<double>& arrays, const AdamSettings& settings, int device,
                    std::uintptr_t stream);

}  // namespace vera
