// Multigrid on the CPU: red-black Gauss-Seidel, V-cycles after a nested start. Rows are handed to
// threads in fixed strips and meet only between colours, so no result depends on the thread count.
#include "poisson.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "poisson_rows.h"

namespace vera {
namespace {

constexpr int64_t kParallelCells = 1 << 14;  // smaller levels are faster in one thread
constexpr int kCoarsestSweeps = 24;
constexpr float kFirstContraction = 0.3f;  // assumed before two cycles have measured it
constexpr float kLeastContraction = 0.05f;

template <class Body>
void for_strips(const PoissonLevel& level, const Body& body) {
  const int64_t strips = (level.height + kPoissonStrip - 1) / kPoissonStrip;
#pragma omp parallel for schedule(static) if (level.width * level.height > kParallelCells)
  for (int64_t strip = 0; strip < strips; ++strip) {
    body(strip * kPoissonStrip, std::min(level.height, (strip + 1) * kPoissonStrip));
  }
}

void relax(const PoissonLevel& level, int64_t y, int colour) {
  const int64_t begin = level.begin[y], end = level.end[y];
  const float* inverse = level.inverse_row(y, colour);
  for (int channel = 0; channel < 3; ++channel) {
    const PoissonStencil stencil = poisson_stencil(level, y, channel, colour);
    float* x = level.row(y, channel, colour);
    if (level.rhs == nullptr) {
      relax_fine_row(x, stencil, inverse, begin, end);
    } else {
      relax_coarse_row(x, stencil, level.rhs_row(y, channel, colour), inverse, begin, end);
    }
  }
}

// One red-black sweep in one pass over memory: black follows red one row behind. The black rows at
// the two ends of a strip wait for the neighbouring strips' red.
void sweep(const PoissonLevel& level) {
  for_strips(level, [&](int64_t first, int64_t last) {
    for (int64_t y = first; y < last; ++y) {
      relax(level, y, 0);
      if (y - 1 > first) relax(level, y - 1, 1);
    }
  });
  for_strips(level, [&](int64_t first, int64_t last) {
    relax(level, first, 1);
    if (last - 1 > first) relax(level, last - 1, 1);
  });
}

// A sweep that starts from zero: red sees no neighbours yet.
void sweep_from_zero(const PoissonLevel& level) {
  for_strips(level, [&](int64_t first, int64_t last) {
    for (int64_t y = first; y < last; ++y) {
      const float* inverse = level.inverse_row(y, 0);
      for (int channel = 0; channel < 3; ++channel) {
        scale_row(level.row(y, channel, 0), level.rhs_row(y, channel, 0), inverse, level.begin[y],
                  level.end[y]);
      }
    }
  });
  for_strips(level, [&](int64_t first, int64_t last) {
    for (int64_t y = first; y < last; ++y) relax(level, y, 1);
  });
}

// rhs of `coarse` = sum of the residual over 2 x 2 cells. After a sweep the black one is zero.
void restrict_residual(const PoissonLevel& fine, const PoissonLevel& coarse, int colours) {
  for_strips(coarse, [&](int64_t first, int64_t last) {
    float sums[kRowChunk + 1];
    for (int64_t row = first; row < last; ++row) {
      for (int channel = 0; channel < 3; ++channel) {
        for (int64_t at = 0; at < fine.half; at += kRowChunk) {
          const int64_t count = std::min<int64_t>(kRowChunk, fine.half - at);
          std::fill(sums, sums + kRowChunk + 1, 0.0f);
          for (int64_t y = 2 * row; y < std::min(2 * row + 2, fine.height); ++y) {
            for (int colour = 0; colour < colours; ++colour) {
              PoissonStencil stencil = poisson_stencil(fine, y, channel, colour);
              stencil.up += at, stencil.down += at, stencil.same += at;
              const float* rhs = fine.rhs ? fine.rhs_row(y, channel, colour) + at : nullptr;
              add_residual_row(sums, fine.row(y, channel, colour) + at, stencil, rhs,
                               fine.inverse_row(y, colour) + at, count);
            }
          }
          for (int colour = 0; colour < 2; ++colour) {
            split_row(coarse.rhs_row(row, channel, colour) + at / 2, sums,
                      poisson_parity(row, colour), (count + 1) / 2);
          }
        }
      }
    }
  });
}

// Writes one coarse row in plain order with a pad cell at both ends. The pad repeats the border
// where the photo ends and is zero where pixels are fixed.
void unpack(const PoissonGrid& grid, const PoissonLevel& level, int64_t y, int channel,
            float* plain) {
  y = std::max<int64_t>(y, grid.borders.top ? 0 : -1);
  y = std::min<int64_t>(y, grid.borders.bottom ? level.height - 1 : level.height);
  const int parity = static_cast<int>(y & 1);
  merge_row(plain, level.row(y, channel, parity), level.row(y, channel, 1 - parity), level.half);
  plain[-1] = grid.borders.left ? plain[0] : 0.0f;
  plain[level.width] = grid.borders.right ? plain[level.width - 1] : 0.0f;
}

enum class Prolongation { kReplace, kAdd };

// kAdd: x += bilinear interpolation of the coarse error; returns its largest magnitude.
// kReplace: x = the coarse cell's value, the start on a level of the nested iteration.
float prolong(const PoissonGrid& grid, int index, Prolongation kind) {
  const PoissonLevel& fine = grid.level[index];
  const PoissonLevel& coarse = grid.level[index + 1];
  const int64_t stride = poisson_scratch_stride(coarse.half);
  const int64_t strips = (fine.height + kPoissonStrip - 1) / kPoissonStrip;
  float largest = 0.0f;
#pragma omp parallel for schedule(static) \
    reduction(max : largest) if (fine.width * fine.height > kParallelCells)
  for (int64_t strip = 0; strip < strips; ++strip) {
    float* plain = grid.scratch + strip * 2 * stride + kPoissonPad;
    float* other = plain + stride;
    for (int64_t y = strip * kPoissonStrip; y < std::min(fine.height, (strip + 1) * kPoissonStrip);
         ++y) {
      if (fine.begin[y] >= fine.end[y]) continue;
      for (int channel = 0; channel < 3; ++channel) {
        unpack(grid, coarse, y / 2, channel, plain);
        if (kind == Prolongation::kAdd) {
          unpack(grid, coarse, (y & 1) ? y / 2 + 1 : y / 2 - 1, channel, other);
          largest = std::max(largest, interpolate_rows(plain, other, coarse.width));
        }
        for (int colour = 0; colour < 2; ++colour) {
          const float* inverse = fine.inverse_row(y, colour);
          float* x = fine.row(y, channel, colour);
          if (kind == Prolongation::kAdd) {
            add_row(x, plain, poisson_parity(y, colour) ? 1 : -1, inverse, fine.begin[y],
                    fine.end[y]);
          } else {
            replace_row(x, plain, inverse, fine.begin[y], fine.end[y]);
          }
        }
      }
    }
  }
  return largest;
}

// One V(1, 1) cycle from `index` down; returns the largest coarse correction added to that level.
float cycle(const PoissonGrid& grid, int index, bool from_zero) {
  const PoissonLevel& level = grid.level[index];
  if (from_zero) {
    sweep_from_zero(level);
  } else {
    sweep(level);
  }
  if (index + 1 == grid.levels) {
    for (int i = 0; i < kCoarsestSweeps; ++i) sweep(level);
    return 0.0f;
  }
  restrict_residual(level, grid.level[index + 1], 1);
  cycle(grid, index + 1, true);
  const float largest = prolong(grid, index, Prolongation::kAdd);
  sweep(level);
  return largest;
}

// Nested iteration: every level starts from the solution of the next coarser one.
void start(const PoissonGrid& grid) {
  for (int i = 0; i + 1 < grid.levels; ++i) restrict_residual(grid.level[i], grid.level[i + 1], 2);
  cycle(grid, grid.levels - 1, false);
  for (int i = grid.levels - 2; i >= 0; --i) {
    prolong(grid, i, Prolongation::kReplace);
    if (i > 0) cycle(grid, i, false);
  }
}

// The coarse correction of a cycle measures the error before it; the ratio of two of them measures
// the contraction, which bounds what is left as in a geometric series.
PoissonResult iterate(const PoissonGrid& grid, const PoissonOptions& options) {
  PoissonResult result{0, 0.0f};
  float previous = 0.0f;
  while (result.cycles < options.max_cycles) {
    const float largest = cycle(grid, 0, false);
    ++result.cycles;
    float rate = result.cycles > 1 && previous > 0.0f ? largest / previous : kFirstContraction;
    rate = std::min(0.95f, std::max(rate, kLeastContraction));
    result.error = largest * rate / (1.0f - rate);
    if (result.error <= options.tolerance) break;
    previous = largest;
  }
  return result;
}

}  // namespace

PoissonResult poisson_solve_cpu(const PoissonGrid& grid, const PoissonOptions& options) {
  if (grid.levels == 1) {
    for (int i = 0; i < kCoarsestSweeps; ++i) sweep(grid.level[0]);
    return {1, 0.0f};
  }
  start(grid);
  return iterate(grid, options);
}

}  // namespace vera
