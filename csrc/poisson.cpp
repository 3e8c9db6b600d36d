// Multigrid on the CPU: red-black Gauss-Seidel, F-cycles after a nested start. Rows are handed to
// threads in fixed strips and meet only between colours, so no result depends on the thread count.
#include "poisson.h"

#include <algorithm>

#include "poisson_rows.h"

namespace vera {
namespace {

constexpr int64_t kParallelCells = 1 << 14;  // smaller levels are faster in one thread
constexpr float kFirstContraction = 0.3f;    // assumed before two cycles have measured it
constexpr float kLeastContraction = 0.1f;    // a luckier pair of cycles is not believed

template <class Body>
void for_strips(const PoissonLevel& level, const Body& body) {
  const int64_t strips = (level.height + kPoissonStrip - 1) / kPoissonStrip;
  const auto run = [&](int64_t strip) {
    body(strip * kPoissonStrip, std::min(level.height, (strip + 1) * kPoissonStrip));
  };
  if (level.width * level.height <= kParallelCells) {
    for (int64_t strip = 0; strip < strips; ++strip) run(strip);
    return;
  }
#pragma omp parallel for schedule(static)
  for (int64_t strip = 0; strip < strips; ++strip) run(strip);
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
void sweep_inner(const PoissonLevel& level, int64_t first, int64_t last) {
  for (int64_t y = first; y < last; ++y) {
    relax(level, y, 0);
    if (y - 1 > first) relax(level, y - 1, 1);
  }
}

void sweep_ends(const PoissonLevel& level, int64_t first, int64_t last) {
  relax(level, first, 1);
  if (last - 1 > first) relax(level, last - 1, 1);
}

void sweep(const PoissonLevel& level) {
  for_strips(level, [&](int64_t first, int64_t last) { sweep_inner(level, first, last); });
  for_strips(level, [&](int64_t first, int64_t last) { sweep_ends(level, first, last); });
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

// One row of the coarse rhs: the residual summed over 2 x 2 cells, of the first `colours` colours.
void restrict_row(const PoissonLevel& fine, const PoissonLevel& coarse, int64_t row, int colours) {
  float sums[kRowChunk + 1];
  for (int channel = 0; channel < 3; ++channel) {
    for (int64_t at = 0; at < fine.half; at += kRowChunk) {
      const int64_t count = std::min<int64_t>(kRowChunk, fine.half - at);
      std::fill(sums, sums + count + 1, 0.0f);
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
        split_row(coarse.rhs_row(row, channel, colour) + at / 2, sums, poisson_parity(row, colour),
                  (count + 1) / 2);
      }
    }
  }
}

void restrict_residual(const PoissonLevel& fine, const PoissonLevel& coarse, int colours) {
  for_strips(coarse, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) restrict_row(fine, coarse, row, colours);
  });
}

// sweep, then restrict_residual of red alone, for black has none then. A strip's residual is taken
// while the strip is in the cache, except beside other strips.
void sweep_and_restrict(const PoissonLevel& fine, const PoissonLevel& coarse) {
  const auto restrict_rows = [&](int64_t first, int64_t last, bool inner) {
    for (int64_t row = first / 2; row < (last + 1) / 2; ++row) {
      const bool is_inner = 2 * row - 1 > first && 2 * row + 2 < last - 1;
      if (is_inner == inner) restrict_row(fine, coarse, row, 1);
    }
  };
  for_strips(fine, [&](int64_t first, int64_t last) {
    sweep_inner(fine, first, last);
    restrict_rows(first, last, true);
  });
  for_strips(fine, [&](int64_t first, int64_t last) { sweep_ends(fine, first, last); });
  for_strips(fine, [&](int64_t first, int64_t last) { restrict_rows(first, last, false); });
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

// Black of one row from the coarse level; red is not needed, for a sweep always follows and begins
// with it. add: += bilinear interpolation of the error, whose largest magnitude is returned; else
// the coarse cell's value.
float prolong_row(const PoissonGrid& grid, int index, int64_t y, bool add, float* plain) {
  const PoissonLevel& fine = grid.level[index];
  const PoissonLevel& coarse = grid.level[index + 1];
  const int64_t begin = fine.begin[y], end = fine.end[y];
  const float* inverse = fine.inverse_row(y, 1);
  float* other = plain + poisson_scratch_stride(coarse.half);
  float largest = 0.0f;
  for (int channel = 0; begin < end && channel < 3; ++channel) {
    unpack(grid, coarse, y / 2, channel, plain);
    if (add) {
      unpack(grid, coarse, (y & 1) ? y / 2 + 1 : y / 2 - 1, channel, other);
      largest = std::max(largest, interpolate_rows(plain, other, coarse.width));
      const int64_t shift = poisson_parity(y, 1) ? 1 : -1;
      add_row(fine.row(y, channel, 1), plain, shift, inverse, begin, end);
    } else {
      replace_row(fine.row(y, channel, 1), plain, inverse, begin, end);
    }
  }
  return largest;
}

// Prolongation and the sweep after it; the ends of a strip wait as in sweep. Returns the largest
// coarse correction, which each strip leaves at the start of its scratch.
float prolong_and_sweep(const PoissonGrid& grid, int index, bool add) {
  const PoissonLevel& fine = grid.level[index];
  const int64_t stride = 2 * poisson_scratch_stride(grid.level[index + 1].half);
  const auto scratch = [&](int64_t first) { return grid.scratch + first / kPoissonStrip * stride; };
  for_strips(fine, [&](int64_t first, int64_t last) {
    float* plain = scratch(first) + kPoissonPad;
    float largest = 0.0f;
    for (int64_t y = first; y < last; ++y) {
      largest = std::max(largest, prolong_row(grid, index, y, add, plain));
    }
    scratch(first)[0] = largest;
    for (int64_t y = first + 1; y < last - 1; ++y) relax(fine, y, 0);
    for (int64_t y = first + 2; y < last - 2; ++y) relax(fine, y, 1);
  });
  for_strips(fine, [&](int64_t first, int64_t last) {
    relax(fine, first, 0);
    if (last - 1 > first) relax(fine, last - 1, 0);
  });
  for_strips(fine, [&](int64_t first, int64_t last) {
    for (int64_t y = first; y < last; ++y) {
      if (y < first + 2 || y >= last - 2) relax(fine, y, 1);
    }
  });
  float largest = 0.0f;
  for (int64_t y = 0; y < fine.height; y += kPoissonStrip) {
    largest = std::max(largest, scratch(y)[0]);
  }
  return largest;
}

// One cycle with one sweep before and one after, from `index` down; returns the largest coarse
// correction that this level got.
float cycle(const PoissonGrid& grid, int index, bool from_zero, bool full = true) {
  const PoissonLevel& level = grid.level[index];
  if (index + 1 == grid.levels) {
    if (from_zero) sweep_from_zero(level);
    for (int i = 0; i < kPoissonCoarsestSweeps; ++i) sweep(level);
    return 0.0f;
  }
  if (from_zero) {
    sweep_from_zero(level);
    restrict_residual(level, grid.level[index + 1], 1);
  } else {
    sweep_and_restrict(level, grid.level[index + 1]);
  }
  cycle(grid, index + 1, true, full);
  if (full && index > 0) cycle(grid, index + 1, false, false);
  return prolong_and_sweep(grid, index, true);
}

// Nested iteration: every level starts from the solution of the next coarser one.
void start(const PoissonGrid& grid) {
  for (int i = 0; i + 1 < grid.levels; ++i) restrict_residual(grid.level[i], grid.level[i + 1], 2);
  cycle(grid, grid.levels - 1, false);
  for (int i = grid.levels - 2; i >= 0; --i) {
    prolong_and_sweep(grid, i, false);
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
    for (int i = 0; i < kPoissonCoarsestSweeps; ++i) sweep(grid.level[0]);
    return {1, 0.0f};
  }
  start(grid);
  return iterate(grid, options);
}

}  // namespace vera
