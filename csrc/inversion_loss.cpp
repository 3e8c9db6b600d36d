// CPU: pixels in vectors of 64 bytes, tiles over threads.
#include "inversion_loss.h"

#include <omp.h>

#include <algorithm>

namespace vera {
namespace {

constexpr std::int64_t kTile = 256;  // the largest tile
// Copy of a tile's channels, 256 KiB of stack: channel planes whose distance is a power of two fall
// on the same cache sets, so a second read of the arrays would miss. A copy lies side by side.
constexpr std::int64_t kCopyBytes = 256 << 10;
// Gradients of more bytes than this are written past the caches: 15 to 30 % faster from 13 MiB on,
// and no slower at 3 MiB, where the next reader still finds them in the last cache.
constexpr std::int64_t kStreamBytes = 8 << 20;
// Fewer bytes of gradient than this take some 20 us: not worth waking other threads.
constexpr std::int64_t kTeamBytes = 256 << 10;

// One tile of one sample: where its first pixel is.
template <class T>
struct Tile {
  Tile(const LossTerm<T>& term, std::int64_t sample, std::int64_t tile)
      : term(term),
        sample(sample),
        first(tile * tile_pixels(term.channels)),
        count(std::min(tile_pixels(term.channels), term.pixels - first)),
        vectors((count + kLanes<T> - 1) / kLanes<T>),
        plane(sample * term.pixels + first),
        planes(sample * term.channels * term.pixels + first) {}

  // Pixels in vector v: fewer than a full vector only at the end of the plane.
  std::int64_t lanes(std::int64_t v) const { return std::min(kLanes<T>, count - v * kLanes<T>); }
  std::int64_t at(std::int64_t channel, std::int64_t v) const {
    return planes + channel * term.pixels + v * kLanes<T>;
  }
  Vec<T> weight(std::int64_t v) const {
    const Vec<T> scale = Vec<T>{} + term.scale[sample];
    if (term.pixel_weight == nullptr) return scale;
    return scale * load(term.pixel_weight + plane + v * kLanes<T>, lanes(v));
  }

  const LossTerm<T>& term;
  std::int64_t sample, first, count, vectors;
  std::int64_t plane, planes;  // offsets in [n, hw] and [n, c, hw]
};

template <class T>
VERA_HD double pixel_tile(const Tile<T>& tile) {
  const LossTerm<T>& term = tile.term;
  Sum<T> sum;
  for (std::int64_t channel = 0; channel < term.channels; ++channel) {
    for (std::int64_t v = 0; v < tile.vectors; ++v) {
      const std::int64_t at = tile.at(channel, v), lanes = tile.lanes(v);
      const Vec<T> so = tile.weight(v);
      const auto [loss, grad] =
          pixel_loss(load(term.x + at, lanes), load(term.target + at, lanes), so);
      sum.add(so * loss);
      store(term.grad + at, grad, lanes);
    }
    sum.flush();
  }
  return sum.total();
}

// Channels are taken four at a time, so that the sums of a vector are loaded and stored once for
// four.
template <class T, int kChannels>
VERA_HD void add_channels(const Tile<T>& tile, std::int64_t channel, PerceptualSums<Vec<T>>* sums,
                          T* copy) {
  const LossTerm<T>& term = tile.term;
  for (std::int64_t v = 0; v < tile.vectors; ++v) {
    const std::int64_t lanes = tile.lanes(v);
    PerceptualSums<Vec<T>> sum = sums[v];
    for (int i = 0; i < kChannels; ++i) {
      const std::int64_t at = tile.at(channel + i, v);
      const Vec<T> x = load(term.x + at, lanes), y = load(term.target + at, lanes);
      // Runs are too short for the hardware to foresee the next channel.
      __builtin_prefetch(term.x + at + kChannels * term.pixels);
      __builtin_prefetch(term.target + at + kChannels * term.pixels);
      accumulate(sum, x, y, term.channel_weight[channel + i]);
      if (copy != nullptr) {
        T* to = copy + 2 * ((channel + i) * tile.vectors + v) * kLanes<T>;
        store(to, x);
        store(to + kLanes<T>, y);
      }
    }
    sums[v] = sum;
  }
}

template <class T>
VERA_HD double perceptual_tile(const Tile<T>& tile, bool streaming) {
  const LossTerm<T>& term = tile.term;
  alignas(64) T copy[kCopyBytes / sizeof(T)];
  const bool copied =
      2 * term.channels * tile.vectors * kLanes<T> <= kCopyBytes / std::int64_t{sizeof(T)};
  PerceptualSums<Vec<T>> sums[kTile / kLanes<T>] = {};
  std::int64_t channel = 0;
  for (; channel + 4 <= term.channels; channel += 4) {
    add_channels<T, 4>(tile, channel, sums, copied ? copy : nullptr);
  }
  for (; channel < term.channels; ++channel) {
    add_channels<T, 1>(tile, channel, sums, copied ? copy : nullptr);
  }
  PerceptualFactors<Vec<T>> factors[kTile / kLanes<T>];
  Vec<T> weights[kTile / kLanes<T>];
  for (std::int64_t v = 0; v < tile.vectors; ++v) {
    weights[v] = tile.weight(v);
    factors[v] = perceptual_factors<T>(sums[v], weights[v]);
  }
  Sum<T> sum;
  for (channel = 0; channel < term.channels; ++channel) {
    const T w = term.channel_weight[channel];
    for (std::int64_t v = 0; v < tile.vectors; ++v) {
      const std::int64_t at = tile.at(channel, v), lanes = tile.lanes(v);
      const T* from = copy + 2 * (channel * tile.vectors + v) * kLanes<T>;
      const Vec<T> x = copied ? load(from) : load(term.x + at, lanes);
      const Vec<T> y = copied ? load(from + kLanes<T>) : load(term.target + at, lanes);
      const auto [loss, grad] = perceptual_loss(factors[v], x, y, w);
      sum.add(weights[v] * loss);
      if (streaming) {
        stream(term.grad + at, grad);
      } else {
        store(term.grad + at, grad, lanes);
      }
    }
    sum.flush();
  }
  if (streaming) fence_streams();
  return sum.total();
}

template <class T>
VERA_HD double cross_entropy_tile(const Tile<T>& tile, bool streaming) {
  const LossTerm<T>& term = tile.term;
  alignas(64) T copy[kCopyBytes / sizeof(T)];
  Vec<T> highest[kTile / kLanes<T>], share[kTile / kLanes<T>], hit[kTile / kLanes<T>];
  MaskVec<T> label[kTile / kLanes<T>];
  for (std::int64_t k = 0; k < term.channels; ++k) {
    for (std::int64_t v = 0; v < tile.vectors; ++v) {
      const Vec<T> z = load(term.x + tile.at(k, v), tile.lanes(v)) * term.inverse_temperature;
      __builtin_prefetch(term.x + tile.at(k + 2, v));
      store(copy + (k * tile.vectors + v) * kLanes<T>, z);
      highest[v] = k == 0 ? z : choose(z > highest[v], z, highest[v]);
    }
  }
  Sum<T> sum;
  for (std::int64_t v = 0; v < tile.vectors; ++v) {
    label[v] = load_labels<T>(term.labels + tile.plane + v * kLanes<T>, tile.lanes(v));
    Vec<T> total{}, chosen{};
    for (std::int64_t k = 0; k < term.channels; ++k) {
      T* at = copy + (k * tile.vectors + v) * kLanes<T>;
      const Vec<T> z = load(at) - highest[v];
      chosen = choose(label[v] == static_cast<int>(k), z, chosen);
      const Vec<T> e = exponential(z);
      total += e;
      store(at, e);
    }
    const Vec<T> so = tile.weight(v);
    sum.add(so * (logarithm(total) - chosen));
    sum.flush();
    hit[v] = so * term.inverse_temperature;
    share[v] = hit[v] / total;
  }
  for (std::int64_t k = 0; k < term.channels; ++k) {
    for (std::int64_t v = 0; v < tile.vectors; ++v) {
      const Vec<T> e = load(copy + (k * tile.vectors + v) * kLanes<T>);
      const Vec<T> at_label = choose(label[v] == static_cast<int>(k), hit[v], Vec<T>{});
      const Vec<T> grad = cross_entropy_grad(e, share[v], at_label);
      if (streaming) {
        stream(term.grad + tile.at(k, v), grad);
      } else {
        store(term.grad + tile.at(k, v), grad, tile.lanes(v));
      }
    }
  }
  if (streaming) fence_streams();
  return sum.total();
}

VERA_CLONES double run_pixel(const Tile<float>& tile) {
  return pixel_tile(tile);
}
VERA_CLONES double run_pixel(const Tile<double>& tile) {
  return pixel_tile(tile);
}
VERA_CLONES double run_perceptual(const Tile<float>& tile, bool streaming) {
  return perceptual_tile(tile, streaming);
}
VERA_CLONES double run_perceptual(const Tile<double>& tile, bool streaming) {
  return perceptual_tile(tile, streaming);
}
VERA_CLONES double run_cross_entropy(const Tile<float>& tile, bool streaming) {
  return cross_entropy_tile(tile, streaming);
}
VERA_CLONES double run_cross_entropy(const Tile<double>& tile, bool streaming) {
  return cross_entropy_tile(tile, streaming);
}

template <class T>
double run(const Tile<T>& tile, bool streaming) {
  switch (tile.term.kind) {
    case LossKind::kPixel:
      return run_pixel(tile);
    case LossKind::kPerceptual:
      return run_perceptual(tile, streaming);
    case LossKind::kCrossEntropy:
      return run_cross_entropy(tile, streaming);
  }
  return 0;
}

// Only where every vector of the gradient is aligned.
template <class T>
bool is_streamed(const LossTerm<T>& term, std::int64_t grad_bytes) {
  return grad_bytes >= kStreamBytes && term.pixels % kLanes<T> == 0 &&
         reinterpret_cast<std::uintptr_t>(term.grad) % 64 == 0;
}

template <class T>
void inversion_loss_any(const LossTerm<T>* terms, int count, std::int64_t n, double* partials,
                        double* values, int threads) {
  std::int64_t row = 0, grad_bytes = 0;  // tiles of one sample
  for (int i = 0; i < count; ++i) {
    row += tiles_of(terms[i].channels, terms[i].pixels);
    grad_bytes += n * terms[i].channels * terms[i].pixels * std::int64_t{sizeof(T)};
  }
  const int wanted = threads > 0 ? threads : omp_get_max_threads();
  const int team = grad_bytes < kTeamBytes ? 1 : wanted;
#pragma omp parallel for schedule(dynamic, 4) num_threads(team)
  for (std::int64_t task = 0; task < n * row; ++task) {
    const LossTerm<T>* term = terms;
    std::int64_t tile = task % row;
    while (tile >= tiles_of(term->channels, term->pixels)) {
      tile -= tiles_of(term->channels, term->pixels);
      ++term;
    }
    partials[task] = run(Tile<T>(*term, task / row, tile), is_streamed(*term, grad_bytes));
  }
  for (std::int64_t sample = 0; sample < n; ++sample) {
    sum_partials(terms, count, partials + sample * row, values + sample * kLossColumns);
  }
}

}  // namespace

void inversion_loss_cpu(const LossTerm<float>* terms, int count, std::int64_t n, double* partials,
                        double* values, int threads) {
  inversion_loss_any(terms, count, n, partials, values, threads);
}

void inversion_loss_cpu(const LossTerm<double>* terms, int count, std::int64_t n, double* partials,
                        double* values, int threads) {
  inversion_loss_any(terms, count, n, partials, values, threads);
}

}  // namespace vera
