// The multigrid of poisson.cpp on a CUDA device: the same levels, colours and formulas, one thread
// per unknown. The number of cycles is fixed, so that nothing waits for the device: they leave at
// most 0.05 grey level on every mask that the tests solve directly.
#include "cuda.cuh"
#include "grey_level.h"
#include "poisson.h"

namespace vera {
namespace {

constexpr int kThreads = 128;

int64_t blocks(int64_t threads) {
  return (threads + kThreads - 1) / kThreads;
}

__device__ int64_t thread_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// A thread's place among [height, 3, half].
struct Place {
  int64_t y, i;
  int channel;
};

__device__ Place place_of(int64_t thread, const PoissonLevel& level) {
  const int64_t line = thread / level.half;
  return {line / 3, thread % level.half, static_cast<int>(line % 3)};
}

__device__ float sum_at(const PoissonLevel& level, const Place& at, int colour) {
  const PoissonStencil s = poisson_stencil(level, at.y, at.channel, colour);
  const float sum = poisson_sum(s.up[at.i], s.down[at.i], s.same[at.i], s.same[at.i + s.shift]);
  return level.rhs == nullptr ? sum : sum + level.rhs_row(at.y, at.channel, colour)[at.i];
}

__global__ void relax_kernel(PoissonLevel level, int colour) {
  const int64_t thread = thread_index();
  if (thread >= level.height * 3 * level.half) return;
  const Place at = place_of(thread, level);
  float* x = level.row(at.y, at.channel, colour) + at.i;
  *x = poisson_relax_fine(*x, sum_at(level, at, colour), level.inverse_row(at.y, colour)[at.i]);
}

// One coarse cell: residuals of its fine pixels, and its unknown set back to zero.
__global__ void restrict_kernel(PoissonLevel fine, PoissonLevel coarse) {
  const int64_t thread = thread_index();
  if (thread >= coarse.height * 3 * coarse.width) return;
  const int64_t line = thread / coarse.width, x = thread % coarse.width, y = line / 3;
  const int channel = static_cast<int>(line % 3);
  float sum = 0.0f;
  for (int64_t row = 2 * y; row < 2 * y + 2 && row < fine.height; ++row) {
    for (int colour = 0; colour < 2; ++colour) {
      const Place at{row, x, channel};
      sum += poisson_residual(fine.row(row, channel, colour)[x], sum_at(fine, at, colour),
                              fine.inverse_row(row, colour)[x]);
    }
  }
  const int colour = static_cast<int>((x + y) & 1);
  coarse.rhs_row(y, channel, colour)[x / 2] = sum;
  coarse.row(y, channel, colour)[x / 2] = 0.0f;
}

// Value of a coarse cell; beyond the region it repeats where the photo ends and is zero elsewhere.
__device__ float coarse_value(const PoissonLevel& coarse, PoissonBorders borders, int64_t x,
                              int64_t y, int channel) {
  if (x < 0 && borders.left) x = 0;
  if (y < 0 && borders.top) y = 0;
  if (x >= coarse.width && borders.right) x = coarse.width - 1;
  if (y >= coarse.height && borders.bottom) y = coarse.height - 1;
  if (x < 0 || y < 0 || x >= coarse.width || y >= coarse.height) return 0.0f;
  return coarse.row(y, channel, static_cast<int>((x + y) & 1))[x / 2];
}

// add: x += bilinear coarse error; else x = the coarse value.
__global__ void prolong_kernel(PoissonLevel fine, PoissonLevel coarse, PoissonBorders borders,
                               bool add) {
  const int64_t thread = thread_index();
  if (thread >= fine.height * 6 * fine.half) return;
  const int colour = static_cast<int>(thread / (fine.height * 3 * fine.half));
  const Place at = place_of(thread % (fine.height * 3 * fine.half), fine);
  if (!(fine.inverse_row(at.y, colour)[at.i] > 0.0f)) return;
  float* x = fine.row(at.y, at.channel, colour) + at.i;
  const int64_t row = at.y / 2, other = (at.y & 1) ? row + 1 : row - 1;
  if (!add) {
    *x = coarse_value(coarse, borders, at.i, row, at.channel);
    return;
  }
  const int64_t side = poisson_parity(at.y, colour) ? at.i + 1 : at.i - 1;
  const float near = poisson_interpolate(coarse_value(coarse, borders, at.i, row, at.channel),
                                         coarse_value(coarse, borders, at.i, other, at.channel));
  const float far = poisson_interpolate(coarse_value(coarse, borders, side, row, at.channel),
                                        coarse_value(coarse, borders, side, other, at.channel));
  *x += poisson_interpolate(near, far);
}

__global__ void zero_kernel(float* values, int64_t count) {
  const int64_t thread = thread_index();
  if (thread < count) values[thread] = 0.0f;
}

__global__ void state_kernel(PoissonGrid grid, PoissonImages images) {
  const int64_t thread = thread_index();
  const PoissonLevel& level = grid.level[0];
  if (thread >= (level.height + 2) * grid.state_stride) return;
  const int64_t y = thread / grid.state_stride - 1, x = thread % grid.state_stride - 1;
  uint8_t state = kPoissonAbsent;
  if (x >= 0 && y >= 0 && x < level.width && y < level.height) {
    const int64_t at = y * images.mask_stride + x;
    const bool usable = images.valid == nullptr || images.valid[at] != 0;
    state = images.mask[at] != 0 ? kPoissonUnknown : usable ? kPoissonFixed : kPoissonAbsent;
  }
  grid.state[thread] = state;
}

// Counts the four neighbours of a pixel in one state; `any` counts all that exist.
__device__ int neighbours(const PoissonGrid& grid, int64_t x, int64_t y, PoissonState state,
                          bool any) {
  const uint8_t* at = grid.state_row(y) + x;
  const uint8_t near[4] = {at[-1], at[1], at[-grid.state_stride], at[grid.state_stride]};
  int count = 0;
  for (const uint8_t n : near) count += any ? n != kPoissonAbsent : n == state;
  return count;
}

__global__ void finest_kernel(PoissonGrid grid, PoissonImages images, float screening) {
  const PoissonLevel& level = grid.level[0];
  const int64_t thread = thread_index();
  if (thread >= level.height * 2 * level.half) return;
  const int64_t y = thread / (2 * level.half), x = thread % (2 * level.half);
  const int colour = static_cast<int>((x + y) & 1);
  float inverse = 0.0f;
  if (x < level.width && grid.state_row(y)[x] == kPoissonUnknown) {
    const float lambda =
        images.screening ? images.screening[y * images.mask_stride + x] : screening;
    const int exist = neighbours(grid, x, y, kPoissonFixed, true);
    inverse = poisson_inverse(static_cast<float>(exist), 0.0f, lambda);
  }
  level.inverse_row(y, colour)[x / 2] = inverse;
}

// Boundary values: photo - generated at fixed pixels beside an unknown.
template <class Generated>
__global__ void rim_kernel(PoissonGrid grid, PoissonImages images, const Generated* generated) {
  const PoissonLevel& level = grid.level[0];
  const int64_t thread = thread_index();
  if (thread >= level.height * level.width) return;
  const int64_t y = thread / level.width, x = thread % level.width;
  if (grid.state_row(y)[x] != kPoissonFixed) return;
  if (neighbours(grid, x, y, kPoissonUnknown, false) == 0) return;
  for (int channel = 0; channel < 3; ++channel) {
    const float target = images.photo[y * images.photo_stride + 3 * x + channel];
    const float source = generated[y * images.generated_stride + 3 * x + channel];
    level.row(y, channel, static_cast<int>((x + y) & 1))[x / 2] = target - source;
  }
}

// Edges to fixed pixels and screening of one cell of `index`, from the next finer level.
__global__ void aggregate_kernel(PoissonGrid grid, PoissonImages images, float screening,
                                 int index) {
  const PoissonLevel& fine = grid.level[index - 1];
  const PoissonLevel& coarse = grid.level[index];
  const int64_t thread = thread_index();
  if (thread >= coarse.height * coarse.width) return;
  const int64_t y = thread / coarse.width, x = thread % coarse.width;
  float dirichlet = 0.0f, sum = 0.0f;
  bool unknown = false;
  for (int64_t row = 2 * y; row < 2 * y + 2 && row < fine.height; ++row) {
    for (int64_t column = 2 * x; column < 2 * x + 2 && column < fine.width; ++column) {
      const int64_t at = row * fine.width + column;
      if (index > 1 ? fine.dirichlet[at] < 0.0f : grid.state_row(row)[column] != kPoissonUnknown)
        continue;
      unknown = true;
      if (index > 1) {
        dirichlet += fine.dirichlet[at];
        sum += fine.screening[at];
      } else {
        dirichlet += static_cast<float>(neighbours(grid, column, row, kPoissonFixed, false));
        sum += images.screening ? images.screening[row * images.mask_stride + column] : screening;
      }
    }
  }
  coarse.dirichlet[thread] = unknown ? dirichlet : -1.0f;
  coarse.screening[thread] = sum;
}

__device__ float is_unknown(const PoissonLevel& level, int64_t x, int64_t y) {
  if (x < 0 || y < 0 || x >= level.width || y >= level.height) return 0.0f;
  return level.dirichlet[y * level.width + x] >= 0.0f ? 1.0f : 0.0f;
}

__global__ void coarse_kernel(PoissonLevel level) {
  const int64_t thread = thread_index();
  if (thread >= level.height * 2 * level.half) return;
  const int64_t y = thread / (2 * level.half), x = thread % (2 * level.half);
  float inverse = 0.0f;
  if (is_unknown(level, x, y) > 0.0f) {
    const float count = is_unknown(level, x - 1, y) + is_unknown(level, x + 1, y) +
                        is_unknown(level, x, y - 1) + is_unknown(level, x, y + 1);
    const int64_t at = y * level.width + x;
    inverse = poisson_inverse(count, level.dirichlet[at], level.screening[at]);
  }
  level.inverse_row(y, static_cast<int>((x + y) & 1))[x / 2] = inverse;
}

template <class Generated>
__global__ void compose_kernel(PoissonGrid grid, PoissonImages images, const Generated* generated) {
  const PoissonLevel& level = grid.level[0];
  const int64_t thread = thread_index();
  if (thread >= level.height * level.width) return;
  const int64_t y = thread / level.width, x = thread % level.width;
  if (grid.state_row(y)[x] != kPoissonUnknown) return;
  for (int channel = 0; channel < 3; ++channel) {
    const float source = generated[y * images.generated_stride + 3 * x + channel];
    const float correction = level.row(y, channel, static_cast<int>((x + y) & 1))[x / 2];
    images.out[y * images.photo_stride + 3 * x + channel] = grey_level(source + correction);
  }
}

// Launches of one solve, all on one stream.
class Solver {
 public:
  Solver(const PoissonGrid& grid, std::uintptr_t stream) : grid_(grid), stream_(stream) {}

  template <class Generated>
  void run(const PoissonImages& images, float screening) const {
    const auto* generated = static_cast<const Generated*>(images.generated);
    const PoissonLevel& finest = grid_.level[0];
    const int64_t pixels = finest.height * finest.width;
    build(images, screening);
    start("poisson rim", rim_kernel<Generated>, pixels, grid_, images, generated);
    solve();
    start("poisson compose", compose_kernel<Generated>, pixels, grid_, images, generated);
  }

 private:
  template <class Kernel, class... Arguments>
  void start(const char* name, Kernel kernel, int64_t threads, Arguments... arguments) const {
    launch(name, kernel, blocks(threads), kThreads, stream_, arguments...);
  }

  void build(const PoissonImages& images, float screening) const {
    for (int i = 0; i < grid_.levels; ++i) {
      const int64_t count = (grid_.level[i].height + 2) * 6 * grid_.level[i].segment;
      start("poisson zero", zero_kernel, count, grid_.level[i].x, count);
    }
    const PoissonLevel& finest = grid_.level[0];
    start("poisson state", state_kernel, (finest.height + 2) * grid_.state_stride, grid_, images);
    start("poisson finest", finest_kernel, finest.height * 2 * finest.half, grid_, images,
          screening);
    for (int i = 1; i < grid_.levels; ++i) {
      const PoissonLevel& level = grid_.level[i];
      start("poisson aggregate", aggregate_kernel, level.height * level.width, grid_, images,
            screening, i);
      start("poisson coarse", coarse_kernel, level.height * 2 * level.half, level);
    }
  }

  void solve() const {
    for (int i = 0; i + 1 < grid_.levels; ++i) descend(i);
    cycle(grid_.levels - 1);
    for (int i = grid_.levels - 2; i >= 0; --i) {
      ascend(i, false);
      if (i > 0) cycle(i);
    }
    for (int i = 0; i < kPoissonCudaCycles; ++i) cycle(0);
  }

  void cycle(int index, bool full = true) const {
    sweep(index);
    if (index + 1 == grid_.levels) {
      for (int i = 0; i < kPoissonCoarsestSweeps; ++i) sweep(index);
      return;
    }
    descend(index);
    cycle(index + 1, full);
    if (full && index > 0) cycle(index + 1, false);
    ascend(index, true);
    sweep(index);
  }

  void sweep(int index) const {
    const PoissonLevel& level = grid_.level[index];
    for (int colour = 0; colour < 2; ++colour) {
      start("poisson relax", relax_kernel, level.height * 3 * level.half, level, colour);
    }
  }

  void descend(int index) const {
    const PoissonLevel& coarse = grid_.level[index + 1];
    start("poisson restrict", restrict_kernel, coarse.height * 3 * coarse.width, grid_.level[index],
          coarse);
  }

  void ascend(int index, bool add) const {
    const PoissonLevel& fine = grid_.level[index];
    start("poisson prolong", prolong_kernel, fine.height * 6 * fine.half, fine,
          grid_.level[index + 1], grid_.borders, add);
  }

  PoissonGrid grid_;
  std::uintptr_t stream_;
};

}  // namespace

void poisson_blend_cuda(const PoissonImages& images, int64_t width, int64_t height,
                        PoissonBorders borders, float screening, void* workspace, int device,
                        std::uintptr_t stream) {
  const DeviceGuard guard(device);
  const uintptr_t aligned = (reinterpret_cast<uintptr_t>(workspace) + 63) / 64 * 64;
  PoissonGrid grid{};
  poisson_layout(&grid, width, height, borders, reinterpret_cast<uint8_t*>(aligned));
  const Solver solver(grid, stream);
  if (images.generated_is_float) {
    solver.run<float>(images, screening);
  } else {
    solver.run<uint8_t>(images, screening);
  }
}

}  // namespace vera
