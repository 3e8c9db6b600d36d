// The Poisson problem of a mask: levels in the workspace, boundary values in, blended pixels out.
#include <algorithm>
#include <cstring>

#include "poisson.h"
#include "poisson_rows.h"

namespace vera {
namespace {

void skip_zeros(const uint8_t* row, int64_t* first, int64_t* last) {
  uint64_t word = 0;
  for (; *first + 8 <= *last; *first += 8) {
    std::memcpy(&word, row + *first, 8);
    if (word != 0) break;
  }
  while (*first < *last && row[*first] == 0) ++*first;
  for (; *last - 8 >= *first; *last -= 8) {
    std::memcpy(&word, row + *last - 8, 8);
    if (word != 0) break;
  }
  while (*last > *first && row[*last - 1] == 0) --*last;
}

class Workspace {
 public:
  explicit Workspace(uint8_t* base) : base_(base) {}

  template <class T>
  T* take(int64_t count) {
    T* pointer = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return pointer;
  }
  int64_t used() const { return used_; }

 private:
  uint8_t* base_;
  int64_t used_ = 0;
};

void lay_out(PoissonLevel* level, int64_t width, int64_t height, bool finest,
             Workspace* workspace) {
  level->width = width;
  level->height = height;
  level->half = (width + 1) / 2;
  level->segment = (level->half + 1 + 15) / 16 * 16 + kPoissonPad;
  // Rows whose segments start at one place modulo 4 KiB evict each other from the L1 cache.
  if (level->segment * 4 % 4096 == 0) level->segment += 16;
  level->x = workspace->take<float>((height + 2) * 6 * level->segment);
  level->inverse = workspace->take<float>(height * 2 * level->segment);
  level->begin = workspace->take<int32_t>(height);
  level->end = workspace->take<int32_t>(height);
  level->rhs = level->dirichlet = level->screening = nullptr;
  if (finest) return;
  level->rhs = workspace->take<float>(height * 6 * level->segment);
  level->dirichlet = workspace->take<float>(height * width);
  level->screening = workspace->take<float>(height * width);
}

// Rows of buffers for one task, carved from the scratch of a strip.
float* strip_scratch(const PoissonGrid& grid, int64_t y) {
  return grid.scratch + y / kPoissonStrip * 4 * poisson_scratch_stride(grid.level[0].half);
}

template <class Body>
void for_strips(int64_t height, const Body& body) {
  const int64_t strips = (height + kPoissonStrip - 1) / kPoissonStrip;
#pragma omp parallel for schedule(static)
  for (int64_t strip = 0; strip < strips; ++strip) {
    body(strip * kPoissonStrip, std::min(height, (strip + 1) * kPoissonStrip));
  }
}

void clear(const PoissonGrid& grid) {
  for (int i = 0; i < grid.levels; ++i) {
    const PoissonLevel& level = grid.level[i];
    const int64_t row = 6 * level.segment;
    for_strips(level.height + 2, [&](int64_t first, int64_t last) {
      std::memset(level.x + first * row, 0, (last - first) * row * sizeof(float));
    });
  }
}

void set_states(const PoissonGrid& grid, const PoissonImages& images) {
  const PoissonLevel& level = grid.level[0];
  std::memset(grid.state, kPoissonAbsent, grid.state_stride);
  std::memset(grid.state_row(level.height) - 1, kPoissonAbsent, grid.state_stride);
  for_strips(level.height, [&](int64_t first, int64_t last) {
    for (int64_t y = first; y < last; ++y) {
      uint8_t* state = grid.state_row(y);
      const int64_t at = y * images.mask_stride;
      state_row(state, images.mask + at, images.valid ? images.valid + at : nullptr, level.width);
      state[-1] = kPoissonAbsent;
      std::memset(state + level.width, kPoissonAbsent, grid.state_stride - level.width - 1);
    }
  });
}

void set_inverse(const PoissonLevel& level, int64_t y, const float* plain) {
  int64_t begin = level.half, end = 0;
  for (int colour = 0; colour < 2; ++colour) {
    float* inverse = level.inverse_row(y, colour);
    split_row(inverse, plain, poisson_parity(y, colour), level.half);
    int64_t first = 0, last = level.half;
    while (first < last && inverse[first] == 0.0f) ++first;
    while (last > first && inverse[last - 1] == 0.0f) --last;
    if (first < last) begin = std::min(begin, first), end = std::max(end, last);
  }
  level.begin[y] = static_cast<int32_t>(begin);
  level.end[y] = static_cast<int32_t>(end);
}

// Sums over 2 x 2 pixels for level 1; `fixed` holds the two rows' counts of fixed neighbours.
void aggregate_pixels(const PoissonGrid& grid, const PoissonImages& images, float screening,
                      int64_t y, const uint8_t* fixed, int64_t fixed_stride) {
  const PoissonLevel& fine = grid.level[0];
  const PoissonLevel& coarse = grid.level[1];
  float* dirichlet = coarse.dirichlet + y / 2 * coarse.width;
  float* sums = coarse.screening + y / 2 * coarse.width;
  const bool two = y + 1 < fine.height;
  const uint8_t* state = grid.state_row(y);
  aggregate_row(dirichlet, sums, state, two ? state + grid.state_stride : nullptr, fixed,
                fixed + fixed_stride, screening, coarse.width);
  if (images.screening == nullptr) return;
  for (int64_t x = 0; x < coarse.width; ++x) sums[x] = 0.0f;
  for (int64_t row = y; row < y + 1 + two; ++row) {
    const float* map = images.screening + row * images.mask_stride;
    const uint8_t* unknown = grid.state_row(row);
    for (int64_t x = 0; x < fine.width; ++x) {
      if (unknown[x] == kPoissonUnknown) sums[x / 2] += map[x];
    }
  }
}

void build_finest(const PoissonGrid& grid, const PoissonImages& images, float screening) {
  const PoissonLevel& level = grid.level[0];
  const int64_t stride = poisson_scratch_stride(level.half);
  for_strips(level.height, [&](int64_t first, int64_t last) {
    float* plain = strip_scratch(grid, first);
    auto* fixed = reinterpret_cast<uint8_t*>(plain + stride);
    std::fill(plain, plain + 2 * stride, 0.0f);
    for (int64_t y = first; y < last; ++y) {
      const float* map = images.screening ? images.screening + y * images.mask_stride : nullptr;
      uint8_t* counts = fixed + (y & 1) * 2 * stride;
      diagonal_row(plain, counts, grid.state_row(y), grid.state_stride, map, screening,
                   level.width);
      set_inverse(level, y, plain);
      const bool complete = (y & 1) != 0 || y + 1 == level.height;
      if (grid.levels > 1 && complete) {
        aggregate_pixels(grid, images, screening, y / 2 * 2, fixed, 2 * stride);
      }
    }
  });
}

void aggregate_cells(const PoissonLevel& fine, const PoissonLevel& coarse) {
  for (int64_t y = 0; y < coarse.height; ++y) {
    for (int64_t x = 0; x < coarse.width; ++x) {
      float dirichlet = 0.0f, screening = 0.0f;
      bool unknown = false;
      for (int64_t row = 2 * y; row < std::min(2 * y + 2, fine.height); ++row) {
        for (int64_t column = 2 * x; column < std::min(2 * x + 2, fine.width); ++column) {
          const int64_t at = row * fine.width + column;
          if (fine.dirichlet[at] < 0.0f) continue;
          unknown = true;
          dirichlet += fine.dirichlet[at];
          screening += fine.screening[at];
        }
      }
      coarse.dirichlet[y * coarse.width + x] = unknown ? dirichlet : -1.0f;
      coarse.screening[y * coarse.width + x] = screening;
    }
  }
}

void build_coarse(const PoissonGrid& grid, int index) {
  const PoissonLevel& level = grid.level[index];
  if (index > 1) aggregate_cells(grid.level[index - 1], level);
  for_strips(level.height, [&](int64_t first, int64_t last) {
    float* plain = strip_scratch(grid, first);
    for (int64_t y = first; y < last; ++y) {
      const float* dirichlet = level.dirichlet + y * level.width;
      const float* screening = level.screening + y * level.width;
      coarse_diagonal_row(plain, dirichlet, y > 0 ? dirichlet - level.width : nullptr,
                          y + 1 < level.height ? dirichlet + level.width : nullptr, screening,
                          level.width);
      plain[level.width] = 0.0f;
      set_inverse(level, y, plain);
    }
  });
}

template <class Generated>
void set_rim(const PoissonGrid& grid, const PoissonImages& images, const Generated* generated) {
  const PoissonLevel& level = grid.level[0];
  for_strips(level.height, [&](int64_t first, int64_t last) {
    auto* flags = reinterpret_cast<uint8_t*>(strip_scratch(grid, first));
    for (int64_t y = first; y < last; ++y) {
      if (!rim_row(flags, grid.state_row(y), grid.state_stride, level.width)) continue;
      const uint8_t* photo = images.photo + y * images.photo_stride;
      const Generated* source = generated + y * images.generated_stride;
      for (int64_t x = 0; x < level.width; ++x) {
        if (flags[x] == 0) continue;
        const int colour = static_cast<int>((x + y) & 1);
        for (int channel = 0; channel < 3; ++channel) {
          level.row(y, channel, colour)[x / 2] = static_cast<float>(photo[3 * x + channel]) -
                                                 static_cast<float>(source[3 * x + channel]);
        }
      }
    }
  });
}

template <class Generated>
void compose(const PoissonGrid& grid, const PoissonImages& images, const Generated* generated) {
  const PoissonLevel& level = grid.level[0];
  const int64_t stride = poisson_scratch_stride(level.half);
  for_strips(level.height, [&](int64_t first, int64_t last) {
    float* plain = strip_scratch(grid, first);
    for (int64_t y = first; y < last; ++y) {
      const int64_t begin = level.begin[y], end = level.end[y], even = y & 1;
      if (begin >= end) continue;
      for (int channel = 0; channel < 3; ++channel) {
        merge_row(plain + channel * stride + 2 * begin, level.row(y, channel, even) + begin,
                  level.row(y, channel, 1 - even) + begin, end - begin);
      }
      compose_row(images.out + y * images.photo_stride, generated + y * images.generated_stride,
                  plain, plain + stride, plain + 2 * stride, grid.state_row(y), 2 * begin,
                  std::min(2 * end, level.width));
    }
  });
}

void export_correction(const PoissonGrid& grid, float* correction) {
  const PoissonLevel& level = grid.level[0];
  for (int64_t y = 0; y < level.height; ++y) {
    const uint8_t* state = grid.state_row(y);
    for (int64_t x = 0; x < level.width; ++x) {
      const int colour = static_cast<int>((x + y) & 1);
      for (int channel = 0; channel < 3; ++channel) {
        correction[(y * level.width + x) * 3 + channel] =
            state[x] == kPoissonUnknown ? level.row(y, channel, colour)[x / 2] : 0.0f;
      }
    }
  }
}

template <class Generated>
PoissonResult blend(const PoissonGrid& grid, const PoissonImages& images,
                    const PoissonOptions& options, float* correction) {
  const auto* generated = static_cast<const Generated*>(images.generated);
  clear(grid);
  set_states(grid, images);
  build_finest(grid, images, options.screening);
  for (int i = 1; i < grid.levels; ++i) build_coarse(grid, i);
  set_rim(grid, images, generated);
  const PoissonResult result = poisson_solve_cpu(grid, options);
  compose(grid, images, generated);
  if (correction != nullptr) export_correction(grid, correction);
  return result;
}

}  // namespace

void mask_bounds(const uint8_t* mask, int64_t width, int64_t height, int64_t* bounds) {
  int64_t x0 = width, x1 = 0, y0 = height, y1 = 0;
#pragma omp parallel for schedule(static) reduction(min : x0, y0) reduction(max : x1, y1)
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* row = mask + y * width;
    int64_t first = 0, last = width;
    skip_zeros(row, &first, &last);
    if (first == last) continue;
    x0 = std::min(x0, first), x1 = std::max(x1, last);
    y0 = std::min(y0, y), y1 = std::max(y1, y + 1);
  }
  const bool any = x0 < x1;
  bounds[0] = any ? x0 : 0, bounds[1] = any ? y0 : 0;
  bounds[2] = x1, bounds[3] = y1;
}

int64_t poisson_layout(PoissonGrid* grid, int64_t width, int64_t height, PoissonBorders borders,
                       uint8_t* workspace) {
  Workspace space(workspace);
  grid->borders = borders;
  grid->levels = 0;
  for (int64_t w = width, h = height; grid->levels < kPoissonMaxLevels;
       w = (w + 1) / 2, h = (h + 1) / 2) {
    lay_out(&grid->level[grid->levels], w, h, grid->levels == 0, &space);
    ++grid->levels;
    if (w <= kPoissonCoarsestSide && h <= kPoissonCoarsestSide) break;
  }
  grid->state_stride = (width + 2 + 63) / 64 * 64;
  grid->state = space.take<uint8_t>((height + 2) * grid->state_stride);
  const int64_t strips = (height + kPoissonStrip - 1) / kPoissonStrip;
  grid->scratch = space.take<float>(strips * 4 * poisson_scratch_stride(grid->level[0].half));
  return space.used();
}

int64_t poisson_workspace_bytes(int64_t width, int64_t height) {
  PoissonGrid grid{};
  return poisson_layout(&grid, width, height, {}, nullptr) + 64;
}

PoissonResult poisson_blend_cpu(const PoissonImages& images, int64_t width, int64_t height,
                                PoissonBorders borders, const PoissonOptions& options,
                                float* correction, void* workspace) {
  const uintptr_t aligned = (reinterpret_cast<uintptr_t>(workspace) + 63) / 64 * 64;
  PoissonGrid grid{};
  poisson_layout(&grid, width, height, borders, reinterpret_cast<uint8_t*>(aligned));
  return images.generated_is_float ? blend<float>(grid, images, options, correction)
                                   : blend<uint8_t>(grid, images, options, correction);
}

}  // namespace vera
