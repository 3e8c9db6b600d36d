#include "poisson_rows.h"

#include "grey_level.h"
#include "host_device.h"

namespace vera {

VERA_CLONES void relax_fine_row(float* __restrict__ x, PoissonStencil stencil,
                                const float* __restrict__ inverse, int64_t begin, int64_t end) {
  const float* up = stencil.up;
  const float* down = stencil.down;
  const float* same = stencil.same;
  const float* side = same + stencil.shift;
  for (int64_t i = begin; i < end; ++i) {
    x[i] = poisson_relax_fine(x[i], poisson_sum(up[i], down[i], same[i], side[i]), inverse[i]);
  }
}

VERA_CLONES void relax_coarse_row(float* __restrict__ x, PoissonStencil stencil,
                                  const float* __restrict__ rhs, const float* __restrict__ inverse,
                                  int64_t begin, int64_t end) {
  const float* up = stencil.up;
  const float* down = stencil.down;
  const float* same = stencil.same;
  const float* side = same + stencil.shift;
  for (int64_t i = begin; i < end; ++i) {
    x[i] = (poisson_sum(up[i], down[i], same[i], side[i]) + rhs[i]) * inverse[i];
  }
}

VERA_CLONES void scale_row(float* __restrict__ x, const float* __restrict__ rhs,
                           const float* __restrict__ inverse, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) x[i] = rhs[i] * inverse[i];
}

VERA_CLONES void add_residual_row(float* __restrict__ sums, const float* __restrict__ x,
                                  PoissonStencil stencil, const float* __restrict__ rhs,
                                  const float* __restrict__ inverse, int64_t count) {
  const float* up = stencil.up;
  const float* down = stencil.down;
  const float* same = stencil.same;
  const float* side = same + stencil.shift;
  if (rhs == nullptr) {
    for (int64_t i = 0; i < count; ++i) {
      sums[i] += poisson_residual(x[i], poisson_sum(up[i], down[i], same[i], side[i]), inverse[i]);
    }
  } else {
    for (int64_t i = 0; i < count; ++i) {
      const float sum = poisson_sum(up[i], down[i], same[i], side[i]) + rhs[i];
      sums[i] += poisson_residual(x[i], sum, inverse[i]);
    }
  }
}

VERA_CLONES void split_row(float* __restrict__ segment, const float* __restrict__ plain,
                           int64_t parity, int64_t count) {
  for (int64_t i = 0; i < count; ++i) segment[i] = plain[2 * i + parity];
}

VERA_CLONES void merge_row(float* __restrict__ plain, const float* __restrict__ even,
                           const float* __restrict__ odd, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    plain[2 * i] = even[i];
    plain[2 * i + 1] = odd[i];
  }
}

VERA_CLONES float interpolate_rows(float* __restrict__ near, const float* __restrict__ far,
                                   int64_t width) {
  // Magnitudes compare like their bit patterns, and only integer maxima are vectorised exactly.
  int32_t largest = 0;
  for (int64_t i = -1; i <= width; ++i) {
    near[i] = poisson_interpolate(near[i], far[i]);
    const int32_t bits = __builtin_bit_cast(int32_t, near[i]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return __builtin_bit_cast(float, largest);
}

VERA_CLONES void add_row(float* __restrict__ x, const float* __restrict__ plain, int64_t shift,
                         const float* __restrict__ inverse, int64_t begin, int64_t end) {
  const float* far = plain + shift;
  for (int64_t i = begin; i < end; ++i) {
    const float error = poisson_interpolate(plain[i], far[i]);
    x[i] += inverse[i] > 0.0f ? error : 0.0f;
  }
}

VERA_CLONES void replace_row(float* __restrict__ x, const float* __restrict__ plain,
                             const float* __restrict__ inverse, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) x[i] = inverse[i] > 0.0f ? plain[i] : x[i];
}

VERA_CLONES void state_row(uint8_t* __restrict__ state, const uint8_t* __restrict__ mask,
                           const uint8_t* __restrict__ valid, int64_t count) {
  if (valid == nullptr) {
    for (int64_t i = 0; i < count; ++i) state[i] = mask[i] != 0 ? kPoissonUnknown : kPoissonFixed;
  } else {
    for (int64_t i = 0; i < count; ++i) {
      state[i] = mask[i] != 0 ? kPoissonUnknown : valid[i] != 0 ? kPoissonFixed : kPoissonAbsent;
    }
  }
}

VERA_CLONES void diagonal_row(float* __restrict__ inverse, uint8_t* __restrict__ fixed,
                              const uint8_t* state, int64_t state_stride, const float* map,
                              float screening, int64_t count) {
  const uint8_t* up = state - state_stride;
  const uint8_t* down = state + state_stride;
  const uint8_t* left = state - 1;
  const uint8_t* right = state + 1;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t count_fixed =
        static_cast<uint8_t>((up[i] == kPoissonFixed) + (down[i] == kPoissonFixed) +
                             (left[i] == kPoissonFixed) + (right[i] == kPoissonFixed));
    fixed[i] = state[i] == kPoissonUnknown ? count_fixed : 0;
  }
  for (int64_t i = 0; i < count; ++i) {
    const int exist = (up[i] != 0) + (down[i] != 0) + (left[i] != 0) + (right[i] != 0);
    inverse[i] = state[i] == kPoissonUnknown ? static_cast<float>(exist) : -1.0f;
  }
  if (map != nullptr) {
    for (int64_t i = 0; i < count; ++i) inverse[i] += inverse[i] >= 0.0f ? map[i] : 0.0f;
  } else {
    for (int64_t i = 0; i < count; ++i) inverse[i] += inverse[i] >= 0.0f ? screening : 0.0f;
  }
  for (int64_t i = 0; i < count; ++i) inverse[i] = inverse[i] > 0.0f ? 1.0f / inverse[i] : 0.0f;
}

VERA_CLONES void aggregate_row(float* __restrict__ dirichlet, float* __restrict__ sums,
                               const uint8_t* state, const uint8_t* below, const uint8_t* fixed,
                               const uint8_t* fixed_below, float screening, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const int unknown = (state[2 * i] == kPoissonUnknown) + (state[2 * i + 1] == kPoissonUnknown);
    dirichlet[i] = static_cast<float>(fixed[2 * i] + fixed[2 * i + 1]);
    sums[i] = static_cast<float>(unknown);
  }
  if (below != nullptr) {
    for (int64_t i = 0; i < count; ++i) {
      const int unknown = (below[2 * i] == kPoissonUnknown) + (below[2 * i + 1] == kPoissonUnknown);
      dirichlet[i] += static_cast<float>(fixed_below[2 * i] + fixed_below[2 * i + 1]);
      sums[i] += static_cast<float>(unknown);
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    dirichlet[i] = sums[i] > 0.0f ? dirichlet[i] : -1.0f;
    sums[i] *= screening;
  }
}

VERA_CLONES void coarse_diagonal_row(float* __restrict__ inverse,
                                     const float* __restrict__ dirichlet,
                                     const float* __restrict__ up, const float* __restrict__ down,
                                     const float* __restrict__ screening, int64_t count) {
  for (int64_t i = 0; i < count; ++i) inverse[i] = 0.0f;
  if (up != nullptr) {
    for (int64_t i = 0; i < count; ++i) inverse[i] += up[i] >= 0.0f ? 1.0f : 0.0f;
  }
  if (down != nullptr) {
    for (int64_t i = 0; i < count; ++i) inverse[i] += down[i] >= 0.0f ? 1.0f : 0.0f;
  }
  for (int64_t i = 0; i + 1 < count; ++i) {
    inverse[i] += dirichlet[i + 1] >= 0.0f ? 1.0f : 0.0f;
  }
  for (int64_t i = 1; i < count; ++i) inverse[i] += dirichlet[i - 1] >= 0.0f ? 1.0f : 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    const float value = poisson_inverse(inverse[i], dirichlet[i], screening[i]);
    inverse[i] = dirichlet[i] >= 0.0f ? value : 0.0f;
  }
}

VERA_CLONES bool rim_row(uint8_t* __restrict__ flags, const uint8_t* state, int64_t state_stride,
                         int64_t count) {
  const uint8_t* up = state - state_stride;
  const uint8_t* down = state + state_stride;
  const uint8_t* left = state - 1;
  const uint8_t* right = state + 1;
  uint8_t any = 0;
  for (int64_t i = 0; i < count; ++i) {
    // kPoissonUnknown is the only state with bit 1 set.
    const uint8_t near = (up[i] | down[i] | left[i] | right[i]) & kPoissonUnknown;
    flags[i] = state[i] == kPoissonFixed ? near : 0;
    any |= flags[i];
  }
  return any != 0;
}

namespace {

template <class Generated>
VERA_HD void compose(uint8_t* __restrict__ out, const Generated* __restrict__ generated,
                     const float* __restrict__ red, const float* __restrict__ green,
                     const float* __restrict__ blue, const uint8_t* __restrict__ state,
                     int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const bool unknown = state[i] == kPoissonUnknown;
    const uint8_t r = grey_level(static_cast<float>(generated[3 * i]) + red[i]);
    const uint8_t g = grey_level(static_cast<float>(generated[3 * i + 1]) + green[i]);
    const uint8_t b = grey_level(static_cast<float>(generated[3 * i + 2]) + blue[i]);
    out[3 * i] = unknown ? r : out[3 * i];
    out[3 * i + 1] = unknown ? g : out[3 * i + 1];
    out[3 * i + 2] = unknown ? b : out[3 * i + 2];
  }
}

}  // namespace

template <>
VERA_CLONES void compose_row(uint8_t* out, const uint8_t* generated, const float* red,
                             const float* green, const float* blue, const uint8_t* state,
                             int64_t begin, int64_t end) {
  compose(out, generated, red, green, blue, state, begin, end);
}

template <>
VERA_CLONES void compose_row(uint8_t* out, const float* generated, const float* red,
                             const float* green, const float* blue, const uint8_t* state,
                             int64_t begin, int64_t end) {
  compose(out, generated, red, green, blue, state, begin, end);
}

}  // namespace vera
