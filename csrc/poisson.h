// Screened Poisson blending in membrane form (Perez et al. 2003; Bhat et al. 2008), by multigrid.
//
// u = s + c inside the mask; c solves   sum_q (c_p - c_q) + lambda_p c_p = 0   over the
// 4-neighbours q of p that exist and are valid, with c_q = t_q - s_q where q lies outside the mask
// (t photo, s generated). A missing neighbour (border of the photo, invalid pixel) is left out:
// Neumann.
//
// Cycles. What each level's operator lacks multiplies over the levels: V-cycles diverge on a slit
// of ten pixels in a face of 500, and go at half the pace elsewhere. F-cycles visit every level but
// the first coarse one again with a V-cycle, which keeps the pace of two levels at little cost.
//
// Layout. A level is a red-black grid stored by colour, so that every loop has unit stride: pixel
// (x, y) has colour (x + y) & 1 and lies at index x / 2 of its segment. A row holds six segments
// (channel, colour). Aggregating 2 x 2 pixels maps index i of rows 2Y and 2Y + 1 to coarse column
// i.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace vera {

constexpr int kPoissonMaxLevels = 16;
constexpr int kPoissonCudaCycles = 6;
constexpr int kPoissonCoarsestSide = 4;  // cells; that level is solved by sweeps alone
constexpr int kPoissonCoarsestSweeps = 16;
constexpr int kPoissonPad =
    16;  // floats before a segment: room for index -1, and 64-byte alignment

// Where the region touches the border of the photo: there the correction has zero normal
// derivative.
struct PoissonBorders {
  bool left, top, right, bottom;
};

struct PoissonLevel {
  int64_t width, height;  // cells that exist
  int64_t half;           // indices per colour: (width + 1) / 2
  int64_t segment;        // floats from one colour segment to the next
  float* x;               // [height + 2, 3, 2, segment]; finest: correction, else its error
  float* rhs;             // [height, 3, 2, segment]; null on the finest level, where it is zero
  float* inverse;         // [height, 2, segment]; 1 / diagonal, 0 outside the mask
  float* dirichlet;       // [height, width]; weight of the edges to fixed pixels, -1 outside
  float* screening;       // [height, width]; sum of lambda
  int32_t* begin;         // [height]; first index with an unknown
  int32_t* end;           // [height]; one past the last

  VERA_HD float* row(int64_t y, int channel, int colour) const {
    return x + ((y + 1) * 6 + channel * 2 + colour) * segment + kPoissonPad;
  }
  VERA_HD float* rhs_row(int64_t y, int channel, int colour) const {
    return rhs + (y * 6 + channel * 2 + colour) * segment + kPoissonPad;
  }
  VERA_HD float* inverse_row(int64_t y, int colour) const {
    return inverse + (y * 2 + colour) * segment + kPoissonPad;
  }
};

struct PoissonGrid {
  int levels;
  PoissonBorders borders;
  PoissonLevel level[kPoissonMaxLevels];
  uint8_t* state;        // [height + 2, state_stride], PoissonState of each pixel and a ring around
  int64_t state_stride;  // one pixel left and right
  float* scratch;        // rows of two coarse lines, one pair per strip of the finest level

  VERA_HD uint8_t* state_row(int64_t y) const { return state + (y + 1) * state_stride + 1; }
};

enum PoissonState : uint8_t { kPoissonAbsent = 0, kPoissonFixed = 1, kPoissonUnknown = 2 };

// Neighbours of one colour segment: `same` is the other colour of the same row, whose second
// neighbour lies `shift` further (-1 for even columns, +1 for odd ones).
struct PoissonStencil {
  const float* up;
  const float* down;
  const float* same;
  int64_t shift;
};

VERA_HD int64_t poisson_parity(int64_t y, int colour) {
  return (y + colour) & 1;
}

VERA_HD PoissonStencil poisson_stencil(const PoissonLevel& level, int64_t y, int channel,
                                       int colour) {
  return {level.row(y - 1, channel, 1 - colour), level.row(y + 1, channel, 1 - colour),
          level.row(y, channel, 1 - colour), poisson_parity(y, colour) ? 1 : -1};
}

VERA_HD float poisson_sum(float up, float down, float left, float right) {
  return (up + down) + (left + right);
}

// Gauss-Seidel update of the finest level; a fixed pixel keeps its value.
VERA_HD float poisson_relax_fine(float x, float sum, float inverse) {
  return inverse > 0.0f ? sum * inverse : x;
}

// Residual of the equation scaled by the diagonal; 0 outside the mask.
VERA_HD float poisson_residual(float x, float sum, float inverse) {
  return inverse > 0.0f ? sum - x / inverse : 0.0f;
}

// Diagonal of a coarse cell: unknown neighbours, edges to fixed pixels, screening. Interior edges
// are those of the coarse grid, but fixed edges are summed over the fine pixels without the factor
// 1/2 per level that keeps a flat boundary in place: coarse cells then see a boundary that is too
// stiff rather than too soft, and the cycle converges for every mask tried, where the flat-boundary
// weight diverges on walls and points one pixel thin.
VERA_HD float poisson_inverse(float neighbours, float dirichlet, float screening) {
  const float diagonal = neighbours + dirichlet + screening;
  return diagonal > 0.0f ? 1.0f / diagonal : 0.0f;
}

// Cell-centred bilinear interpolation along one axis.
VERA_HD float poisson_interpolate(float near, float far) {
  return 0.75f * near + 0.25f * far;
}

struct PoissonImages {
  const uint8_t* photo;    // first pixel of the region
  int64_t photo_stride;    // bytes from row to row
  const uint8_t* mask;     // nonzero takes the generated pixel
  const uint8_t* valid;    // may be null; zero: generated pixel unusable outside the mask
  const float* screening;  // may be null; lambda per pixel
  int64_t mask_stride;     // elements from row to row, of mask, valid and screening
  const void* generated;   // uint8 or float32 RGB
  bool generated_is_float;
  int64_t generated_stride;  // elements from row to row
  uint8_t* out;              // same layout as photo
};

struct PoissonOptions {
  float screening;  // lambda where no map is given
  float tolerance;  // largest error of the correction to aim at, in grey levels
  int max_cycles;
};

struct PoissonResult {
  int cycles;
  float error;  // estimated largest error of the correction, in grey levels
};

// x0, y0, x1, y1 around the nonzero pixels; zeros if there are none.
void mask_bounds(const uint8_t* mask, int64_t width, int64_t height, int64_t* bounds);

// Bytes of workspace for a region of width x height pixels, at least 1 x 1.
int64_t poisson_workspace_bytes(int64_t width, int64_t height);

constexpr int64_t kPoissonStrip = 32;  // rows per task: several rows of all channels fit in L2

VERA_HD int64_t poisson_scratch_stride(int64_t half) {
  return 2 * half + 2 * kPoissonPad + 16;
}

// Pointers of all levels into `workspace`; null only measures. Returns the bytes used.
int64_t poisson_layout(PoissonGrid* grid, int64_t width, int64_t height, PoissonBorders borders,
                       uint8_t* workspace);

// Solves for the correction in grid.level[0].x, whose fixed pixels hold the boundary values.
PoissonResult poisson_solve_cpu(const PoissonGrid& grid, const PoissonOptions& options);

// Writes out inside the mask only. The region must hold the mask and one more pixel on each side
// unless the photo ends there (`borders`). `correction` may be null: [height, width, 3] float32.
PoissonResult poisson_blend_cpu(const PoissonImages& images, int64_t width, int64_t height,
                                PoissonBorders borders, const PoissonOptions& options,
                                float* correction, void* workspace);

#ifdef VERA_HAS_CUDA
// The same on a device, with a fixed number of cycles and no synchronisation.
void poisson_blend_cuda(const PoissonImages& images, int64_t width, int64_t height,
                        PoissonBorders borders, float screening, void* workspace, int device,
                        std::uintptr_t stream);
#endif

}  // namespace vera
