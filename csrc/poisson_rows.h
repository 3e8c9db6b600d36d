// Row loops of the Poisson solver, each compiled for several instruction sets; defined in
// poisson_rows.cpp. Pointers are those of one colour segment unless a row is called plain.
#pragma once

#include <cstdint>

#include "poisson.h"

namespace vera {

constexpr int64_t kRowChunk = 1024;  // indices handled at a time where a row needs a buffer

void relax_fine_row(float* x, PoissonStencil stencil, const float* inverse, int64_t begin,
                    int64_t end);
void relax_coarse_row(float* x, PoissonStencil stencil, const float* rhs, const float* inverse,
                      int64_t begin, int64_t end);
void scale_row(float* x, const float* rhs, const float* inverse, int64_t begin, int64_t end);

// sums += residual; a null rhs is zero.
void add_residual_row(float* sums, const float* x, PoissonStencil stencil, const float* rhs,
                      const float* inverse, int64_t count);

// segment[i] = plain[2 i + parity], and back from both colours.
void split_row(float* segment, const float* plain, int64_t parity, int64_t count);
void merge_row(float* plain, const float* even, const float* odd, int64_t count);

// near = 3/4 near + 1/4 far over [-1, width]; returns the largest magnitude.
float interpolate_rows(float* near, const float* far, int64_t width);
void add_row(float* x, const float* plain, int64_t shift, const float* inverse, int64_t begin,
             int64_t end);
void replace_row(float* x, const float* plain, const float* inverse, int64_t begin, int64_t end);

// State of a row of pixels; a null valid is all valid.
void state_row(uint8_t* state, const uint8_t* mask, const uint8_t* valid, int64_t count);

// 1 / diagonal and number of fixed neighbours of every unknown (else 0). `map` may be null.
void diagonal_row(float* inverse, uint8_t* fixed, const uint8_t* state, int64_t state_stride,
                  const float* map, float screening, int64_t count);

// One row of level 1 from two rows of pixels; `below` may be null. dirichlet = half the edges to
// fixed pixels, -1 without unknowns; sums = screening times the number of unknowns.
void aggregate_row(float* dirichlet, float* sums, const uint8_t* state, const uint8_t* below,
                   const uint8_t* fixed, const uint8_t* fixed_below, float screening,
                   int64_t count);

// 1 / diagonal of one coarse row; `up` and `down` may be null.
void coarse_diagonal_row(float* inverse, const float* dirichlet, const float* up, const float* down,
                         const float* screening, int64_t count);

// flags = fixed pixel with an unknown neighbour; returns whether there is any.
bool rim_row(uint8_t* flags, const uint8_t* state, int64_t state_stride, int64_t count);

// out = round(generated + correction) where unknown, over [begin, end) of a row; RGB interleaved.
template <class Generated>
void compose_row(uint8_t* out, const Generated* generated, const float* red, const float* green,
                 const float* blue, const uint8_t* state, int64_t begin, int64_t end);

}  // namespace vera
