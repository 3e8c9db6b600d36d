// Vectors of 64 bytes for the CPU loops: compiled to whatever registers the function's target has.
// Everything is forced inline, because a vector must not cross a call between instruction sets.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "host_device.h"

namespace vera {

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float Type __attribute__((vector_size(64)));
  typedef std::int32_t Mask __attribute__((vector_size(64)));
  typedef std::uint8_t Bytes __attribute__((vector_size(16)));
  typedef float Half __attribute__((vector_size(32)));
  typedef double Wide __attribute__((vector_size(64)));  // a half, in double
};
template <>
struct VectorOf<double> {
  typedef double Type __attribute__((vector_size(64)));
  typedef std::int64_t Mask __attribute__((vector_size(64)));
  typedef std::uint8_t Bytes __attribute__((vector_size(8)));
  typedef double Half __attribute__((vector_size(32)));
  typedef double Wide __attribute__((vector_size(32)));
};
template <class T>
using Vec = typename VectorOf<T>::Type;
template <class T>
using MaskVec = typename VectorOf<T>::Mask;
template <class T>
constexpr std::int64_t kLanes = 64 / sizeof(T);

template <class T>
VERA_HD Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
VERA_HD void store(T* to, Vec<T> v) {
  std::memcpy(to, &v, sizeof v);
}

// The first `lanes` pixels; the others are 0.
template <class T>
VERA_HD Vec<T> load(const T* from, std::int64_t lanes) {
  if (lanes == kLanes<T>) return load(from);
  Vec<T> v{};
  for (std::int64_t lane = 0; lane < lanes; ++lane) v[lane] = from[lane];
  return v;
}

// Labels widened to one per lane; lanes past the end have label 0.
template <class T>
VERA_HD MaskVec<T> load_labels(const std::uint8_t* from, std::int64_t lanes) {
  using Bytes = typename VectorOf<T>::Bytes;
  Bytes bytes{};
  if (lanes == kLanes<T>) {
    std::memcpy(&bytes, from, sizeof bytes);
  } else {
    for (std::int64_t lane = 0; lane < lanes; ++lane) bytes[lane] = from[lane];
  }
  return __builtin_convertvector(bytes, MaskVec<T>);
}

template <class T>
VERA_HD void store(T* to, Vec<T> v, std::int64_t lanes) {
  if (lanes == kLanes<T>) return store(to, v);
  for (std::int64_t lane = 0; lane < lanes; ++lane) to[lane] = v[lane];
}

// Writes past the caches where the instruction exists (SSE2 is part of x86-64); `to` is aligned to
// 64 bytes. Fence before another thread reads.
template <class T>
VERA_HD void stream(T* to, Vec<T> v) {
#if defined(__SSE2__)
  float parts[16];
  std::memcpy(parts, &v, sizeof v);
  for (int i = 0; i < 16; i += 4) {
    _mm_stream_ps(reinterpret_cast<float*>(to) + i, _mm_loadu_ps(parts + i));
  }
#else
  store(to, v);
#endif
}

VERA_HD void fence_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

VERA_HD Vec<float> choose(MaskVec<float> mask, Vec<float> a, Vec<float> b) {
  return mask ? a : b;
}
VERA_HD Vec<double> choose(MaskVec<double> mask, Vec<double> a, Vec<double> b) {
  return mask ? a : b;
}

template <class V>
VERA_HD V root_of_lanes(V v) {
  V result;
  for (std::size_t lane = 0; lane < sizeof(V) / sizeof(v[0]); ++lane)
    result[lane] = std::sqrt(v[lane]);
  return result;
}
VERA_HD Vec<float> root(Vec<float> v) {
  return root_of_lanes(v);
}
VERA_HD Vec<double> root(Vec<double> v) {
  return root_of_lanes(v);
}

// exp(x) for x <= 0, 0 below -87. Cody-Waite reduction and the polynomial of Cephes' expf; largest
// relative error met 8.6e-8 (every third float in [-87, 0] against double). NaN stays NaN.
VERA_HD Vec<float> exponential(Vec<float> x) {
  const Vec<float> low = Vec<float>{} - 87.0f;
  const Vec<float> clamped = choose(x < low, low, x);
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const Vec<float> shifted = clamped * 1.44269504088896341f + magic;
  const Vec<float> k = shifted - magic;
  const Vec<float> r = (clamped - k * 0.693359375f) + k * 2.12194440e-4f;
  Vec<float> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  MaskVec<float> bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits - 0x4B400000 + 127) << 23;  // 2^k
  Vec<float> power;
  std::memcpy(&power, &bits, sizeof power);
  return choose(x < low, Vec<float>{}, p * power);
}

// log(x) for finite x >= 1, Cephes' logf. NaN and infinity give NaN.
VERA_HD Vec<float> logarithm(Vec<float> x) {
  MaskVec<float> bits;
  std::memcpy(&bits, &x, sizeof bits);
  const MaskVec<float> mantissa_bits = (bits & 0x007FFFFF) | 0x3F000000;
  Vec<float> m;
  std::memcpy(&m, &mantissa_bits, sizeof m);
  const MaskVec<float> small = m < 0.707106781186547524f;
  const Vec<float> e = __builtin_convertvector((bits >> 23) - 126 + small, Vec<float>);
  m = choose(small, m + m, m) - 1.0f;
  const Vec<float> z = m * m;
  Vec<float> p = m * 7.0376836292e-2f - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * z - e * 2.12194440e-4f - 0.5f * z;
  return m + p + e * 0.693359375f + (x - x);
}

VERA_HD Vec<double> exponential(Vec<double> x) {
  for (int lane = 0; lane < 8; ++lane) x[lane] = std::exp(x[lane]);
  return x;
}
VERA_HD Vec<double> logarithm(Vec<double> x) {
  for (int lane = 0; lane < 8; ++lane) x[lane] = std::log(x[lane]);
  return x;
}

// Sums vectors: a short run in T, runs in double.
template <class T>
class Sum {
 public:
  VERA_HD void add(Vec<T> v) { run_ += v; }
  VERA_HD void flush() {
    Half halves[2];
    std::memcpy(halves, &run_, sizeof run_);
    sum_ += wide(halves[0]) + wide(halves[1]);
    run_ = Vec<T>{};
  }
  VERA_HD double total() {
    flush();
    double total = 0;
    for (std::size_t lane = 0; lane < sizeof(Wide) / sizeof(double); ++lane) total += sum_[lane];
    return total;
  }

 private:
  using Half = typename VectorOf<T>::Half;
  using Wide = typename VectorOf<T>::Wide;
  VERA_HD static Wide wide(Half half) { return __builtin_convertvector(half, Wide); }
  Vec<T> run_{};
  Wide sum_{};
};

}  // namespace vera
