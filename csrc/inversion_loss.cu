// CUDA: one block per tile of a sample, one thread per pixel and slice of channels.
#include "cuda.cuh"
#include "inversion_loss.h"

namespace vera {
namespace {

constexpr int kThreads = 256;

VERA_HD float exponential(float v) {
  return expf(v);
}
VERA_HD double exponential(double v) {
  return exp(v);
}
VERA_HD float logarithm(float v) {
  return logf(v);
}
VERA_HD double logarithm(double v) {
  return log(v);
}

// Where a thread works: pixel `pixel` of the sample (if inside), channels slice, slice + slices,
// ...
template <class T>
struct Place {
  __device__ Place(const LossTerm<T>& term)
      : width(static_cast<int>(tile_pixels(term.channels))),
        slices(kThreads / width),
        slice(threadIdx.x / width),
        column(threadIdx.x % width),
        tiles(tiles_of(term.channels, term.pixels)),
        sample(blockIdx.x / tiles),
        tile(blockIdx.x % tiles),
        pixel(tile * width + column),
        inside(pixel < term.pixels),
        plane(sample * term.pixels + pixel),
        planes(sample * term.channels * term.pixels + pixel) {}

  __device__ T weight(const LossTerm<T>& term) const {
    const T scale = term.scale[sample];
    return term.pixel_weight == nullptr ? scale : scale * term.pixel_weight[plane];
  }

  int width, slices, slice, column;
  std::int64_t tiles, sample, tile, pixel;
  bool inside;
  std::int64_t plane, planes;  // offsets in [n, hw] and [n, c, hw]
};

// Sum over the slices of a pixel, in the order of the slices; every thread gets it.
template <class T>
__device__ T sum_slices(T value, const Place<T>& place, T* shared) {
  __syncthreads();
  shared[threadIdx.x] = value;
  __syncthreads();
  T sum = 0;
  for (int slice = 0; slice < place.slices; ++slice)
    sum += shared[slice * place.width + place.column];
  return sum;
}

// The block's sum in a fixed tree: no atomics, so that inversions repeat bit for bit.
template <class T>
__device__ void write_partial(double value, const Place<T>& place, double* partials,
                              std::int64_t row, std::int64_t offset) {
  __shared__ double sums[kThreads];
  sums[threadIdx.x] = place.inside ? value : 0;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) partials[place.sample * row + offset + place.tile] = sums[0];
}

template <class T>
__global__ void pixel_kernel(LossTerm<T> term, double* partials, std::int64_t row,
                             std::int64_t offset) {
  const Place<T> place(term);
  double value = 0;
  if (place.inside) {
    const T so = place.weight(term);
    for (std::int64_t c = place.slice; c < term.channels; c += place.slices) {
      const std::int64_t at = place.planes + c * term.pixels;
      const LossAndGrad<T> result = pixel_loss(term.x[at], term.target[at], so);
      value += so * result.loss;
      term.grad[at] = result.grad;
    }
  }
  write_partial(value, place, partials, row, offset);
}

template <class T>
__global__ void perceptual_kernel(LossTerm<T> term, double* partials, std::int64_t row,
                                  std::int64_t offset) {
  __shared__ T shared[kThreads];
  const Place<T> place(term);
  PerceptualSums<T> sums{};
  for (std::int64_t c = place.slice; place.inside && c < term.channels; c += place.slices) {
    const std::int64_t at = place.planes + c * term.pixels;
    accumulate(sums, term.x[at], term.target[at], term.channel_weight[c]);
  }
  sums = {sum_slices(sums.square, place, shared), sum_slices(sums.weighted, place, shared),
          sum_slices(sums.cross, place, shared)};
  double value = 0;
  if (place.inside) {
    const T so = place.weight(term);
    const PerceptualFactors<T> factors = perceptual_factors<T>(sums, so);
    for (std::int64_t c = place.slice; c < term.channels; c += place.slices) {
      const std::int64_t at = place.planes + c * term.pixels;
      const LossAndGrad<T> result =
          perceptual_loss(factors, term.x[at], term.target[at], term.channel_weight[c]);
      value += so * result.loss;
      term.grad[at] = result.grad;
    }
  }
  write_partial(value, place, partials, row, offset);
}

// The first slice of threads does all classes of its pixel.
template <class T>
__global__ void cross_entropy_kernel(LossTerm<T> term, double* partials, std::int64_t row,
                                     std::int64_t offset) {
  const Place<T> place(term);
  double value = 0;
  if (place.inside && place.slice == 0) {
    const T so = place.weight(term);
    const std::int64_t label = term.labels[place.plane];
    const T* x = term.x + place.planes;
    T* grad = term.grad + place.planes;
    T highest = x[0] * term.inverse_temperature;
    for (std::int64_t k = 1; k < term.channels; ++k) {
      const T z = x[k * term.pixels] * term.inverse_temperature;
      highest = z > highest ? z : highest;
    }
    T total = 0, chosen = 0;
    for (std::int64_t k = 0; k < term.channels; ++k) {
      const T z = x[k * term.pixels] * term.inverse_temperature - highest;
      if (k == label) chosen = z;
      total += exponential(z);
    }
    value = so * (logarithm(total) - chosen);
    const T hit = so * term.inverse_temperature;
    for (std::int64_t k = 0; k < term.channels; ++k) {
      const T z = x[k * term.pixels] * term.inverse_temperature - highest;
      grad[k * term.pixels] =
          cross_entropy_grad(exponential(z), hit / total, k == label ? hit : T(0));
    }
  }
  write_partial(value, place, partials, row, offset);
}

// Terms are few: their tile counts and columns travel as a kernel argument.
constexpr int kMaxTerms = 64;
struct Rows {
  int count;
  int column[kMaxTerms];
  std::int64_t tiles[kMaxTerms];
  std::int64_t row;
};

__global__ void values_kernel(Rows rows, const double* partials, double* values) {
  if (threadIdx.x >= kLossColumns) return;
  const double* from = partials + blockIdx.x * rows.row;
  double value = 0;
  for (int i = 0; i < rows.count; ++i) {
    double sum = 0;
    for (std::int64_t tile = 0; rows.column[i] == int(threadIdx.x) && tile < rows.tiles[i];
         ++tile) {
      sum += from[tile];
    }
    value += sum;
    from += rows.tiles[i];
  }
  values[blockIdx.x * kLossColumns + threadIdx.x] = value;
}

template <class T>
auto kernel_of(LossKind kind) {
  if (kind == LossKind::kPixel) return pixel_kernel<T>;
  return kind == LossKind::kPerceptual ? perceptual_kernel<T> : cross_entropy_kernel<T>;
}

template <class T>
void inversion_loss_launch(const LossTerm<T>* terms, int count, std::int64_t n, double* partials,
                           double* values, int device, std::uintptr_t stream) {
  if (count > kMaxTerms) throw std::runtime_error("inversion_loss: more than 64 terms");
  const DeviceGuard guard(device);
  Rows rows{};
  rows.count = count;
  for (int i = 0; i < count; ++i) {
    rows.column[i] = terms[i].column;
    rows.tiles[i] = tiles_of(terms[i].channels, terms[i].pixels);
    rows.row += rows.tiles[i];
  }
  std::int64_t offset = 0;
  for (int i = 0; i < count; ++i) {
    launch("inversion_loss", kernel_of<T>(terms[i].kind), n * rows.tiles[i], kThreads, stream,
           terms[i], partials, rows.row, offset);
    offset += rows.tiles[i];
  }
  launch("inversion_loss values", values_kernel, n, 32, stream, rows, partials, values);
}

}  // namespace

void inversion_loss_cuda(const LossTerm<float>* terms, int count, std::int64_t n, double* partials,
                         double* values, int device, std::uintptr_t stream) {
  inversion_loss_launch(terms, count, n, partials, values, device, stream);
}

void inversion_loss_cuda(const LossTerm<double>* terms, int count, std::int64_t n, double* partials,
                         double* values, int device, std::uintptr_t stream) {
  inversion_loss_launch(terms, count, n, partials, values, device, stream);
}

}  // namespace vera
