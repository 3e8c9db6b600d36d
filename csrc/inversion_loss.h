// inversion_loss: values and gradients of all terms of the inversion, in one pass over memory.
//
// Arrays are NCHW. x is an output of the generator, everything else is constant. s is the sample's
// scale: the term's weight divided by the sum of its pixel weights, so that the sum over pixels is
// already the weighted mean. o is the pixel's weight (1 where the term has none).
//
//   pixel           L = s sum_p o_p sum_c (x_c - t_c)^2
//                   dL/dx_c = 2 s o_p (x_c - t_c)
//   perceptual      L = s sum_p o_p sum_c w_c (x_c/n - y_c)^2,  n = |x| + 1e-10,  y normalised
//   alike
//                   dL/dx_c = 2 s o_p [w_c (x_c/n - y_c)/n - x_c (A/n - Q) / (n^2 |x|)]
//                   A = sum_c w_c x_c^2,  Q = sum_c w_c x_c y_c;  0 at |x| = 0, where torch gives
//                   NaN (Zhang et al. 2018, and eps where the lpips package puts it: outside the
//                   root)
//   cross-entropy   L = s sum_p o_p (log sum_k exp(z_k) - z_label),  z = x / temperature
//                   dL/dx_k = s o_p (softmax(z)_k - [k = label]) / temperature
//
// The gradient is written by the pass that forms the value, because everything it needs is in
// registers or the first caches then. Pixels are cut into tiles whose size depends on the channel
// count alone; every tile leaves one partial value in a buffer, and the partials are summed in
// order. So a result depends neither on the number of threads nor on the other samples of the
// batch.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"
#if !defined(__CUDACC__)
#include "pixel_vector.h"  // vectors have no argument-dependent look-up: their overloads come first
#endif

namespace vera {

enum class LossKind { kPixel, kPerceptual, kCrossEntropy };

// One term: pointers are [n, ...] arrays of the caller, on one device.
template <class T>
struct LossTerm {
  LossKind kind;
  int column;                  // of values [n, 4]
  std::int64_t channels;       // c
  std::int64_t pixels;         // h*w
  const T* x;                  // [n, c, hw]
  const T* target;             // [n, c, hw]; null for cross-entropy
  const std::uint8_t* labels;  // [n, hw]; cross-entropy only
  const T* channel_weight;     // [c]; perceptual only
  const T* pixel_weight;       // [n, hw] or null
  const T* scale;              // [n]
  T inverse_temperature;       // cross-entropy only
  T* grad;                     // [n, c, hw], written
};

constexpr int kLossColumns = 4;
constexpr double kNormEps = 1e-10;

// Pixels of a tile: 256 keeps long runs per channel for the memory system, 64 keeps all channels of
// a tile in the second cache.
VERA_HD std::int64_t tile_pixels(std::int64_t channels) {
  return channels <= 128 ? 256 : 64;
}
VERA_HD std::int64_t tiles_of(std::int64_t channels, std::int64_t pixels) {
  return (pixels + tile_pixels(channels) - 1) / tile_pixels(channels);
}

// The arithmetic of one pixel, written for V = a number (CUDA) or a vector of pixels (CPU).
// T is the number type and W the type of a channel's weight, the same for all pixels.

VERA_HD float root(float v) {
  return sqrtf(v);
}
VERA_HD double root(double v) {
  return sqrt(v);
}
VERA_HD float choose(bool mask, float a, float b) {
  return mask ? a : b;
}
VERA_HD double choose(bool mask, double a, double b) {
  return mask ? a : b;
}

template <class V>
struct LossAndGrad {
  V loss, grad;  // the loss without its factor s o_p, the gradient with it
};

// so = s o_p.
template <class V>
VERA_HD LossAndGrad<V> pixel_loss(V x, V target, V so) {
  const V difference = x - target;
  return {difference * difference, (so + so) * difference};
}

template <class V>
struct PerceptualSums {
  V square, weighted, cross;  // |x|^2, A, Q
};

template <class V, class W>
VERA_HD void accumulate(PerceptualSums<V>& sums, V x, V y, W w) {
  const V wx = w * x;
  sums.square += x * x;
  sums.weighted += wx * x;
  sums.cross += wx * y;
}

template <class V>
struct PerceptualFactors {
  V inverse;  // 1/n
  V outer;    // 2 s o / n
  V radial;   // 2 s o (A/n - Q) / (n^2 |x|)
};

template <class T, class V>
VERA_HD PerceptualFactors<V> perceptual_factors(const PerceptualSums<V>& sums, V so) {
  const V zero{};
  const V norm = root(sums.square);
  const V inverse = (zero + T(1)) / (norm + T(kNormEps));
  const V outer = (so + so) * inverse;
  const V radial = outer * (sums.weighted * inverse - sums.cross) * inverse / norm;
  return {inverse, choose(norm == zero, zero, outer), choose(norm == zero, zero, radial)};
}

template <class V, class W>
VERA_HD LossAndGrad<V> perceptual_loss(const PerceptualFactors<V>& factors, V x, V y, W w) {
  const V difference = x * factors.inverse - y;
  const V pull = w * difference;
  return {pull * difference, factors.outer * pull - factors.radial * x};
}

// `hit` is s o_p / temperature at the label's channel and 0 elsewhere; `share` is
// s o_p / (temperature sum_k exp(z_k - max)).
template <class V>
VERA_HD V cross_entropy_grad(V exponential, V share, V hit) {
  return exponential * share - hit;
}

// Adds a sample's partials, in order, into its row of values [4].
template <class T>
VERA_HD void sum_partials(const LossTerm<T>* terms, int count, const double* partials,
                          double* values) {
  for (int column = 0; column < kLossColumns; ++column) values[column] = 0;
  for (int i = 0; i < count; ++i) {
    const std::int64_t tiles = tiles_of(terms[i].channels, terms[i].pixels);
    double sum = 0;
    for (std::int64_t tile = 0; tile < tiles; ++tile) sum += partials[tile];
    values[terms[i].column] += sum;
    partials += tiles;
  }
}

void inversion_loss_cpu(const LossTerm<float>* terms, int count, std::int64_t n, double* partials,
                        double* values, int threads);
void inversion_loss_cpu(const LossTerm<double>* terms, int count, std::int64_t n, double* partials,
                        double* values, int threads);
void inversion_loss_cuda(const LossTerm<float>* terms, int count, std::int64_t n, double* partials,
                         double* values, int device, std::uintptr_t stream);
void inversion_loss_cuda(const LossTerm<double>* terms, int count, std::int64_t n, double* partials,
                         double* values, int device, std::uintptr_t stream);

}  // namespace vera
