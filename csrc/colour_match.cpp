#include "colour_match.h"

#include <algorithm>

namespace vera {
namespace {

template <class Generated>
void sum_row(const uint8_t* ring, const uint8_t* photo, const Generated* generated, int64_t count,
             double* sums) {
  std::fill(sums, sums + kColourSums, 0.0);
  for (int64_t x = 0; x < count; ++x) {
    if (ring[x] == 0) continue;
    double axes[6];
    opponent(photo[3 * x], photo[3 * x + 1], photo[3 * x + 2], axes);
    opponent(generated[3 * x], generated[3 * x + 1], generated[3 * x + 2], axes + 3);
    sums[0] += 1.0;
    for (int i = 0; i < 6; ++i) {
      sums[1 + i] += axes[i];
      sums[7 + i] += axes[i] * axes[i];
    }
  }
}

template <class Generated>
VERA_HD void apply(float* __restrict__ out, const Generated* __restrict__ generated,
                   const float* __restrict__ m, int64_t count) {
  for (int64_t x = 0; x < count; ++x) {
    const float red = generated[3 * x], green = generated[3 * x + 1], blue = generated[3 * x + 2];
    out[3 * x] = m[0] * red + m[1] * green + m[2] * blue + m[3];
    out[3 * x + 1] = m[4] * red + m[5] * green + m[6] * blue + m[7];
    out[3 * x + 2] = m[8] * red + m[9] * green + m[10] * blue + m[11];
  }
}

VERA_CLONES void apply_row(float* out, const uint8_t* generated, const float* m, int64_t count) {
  apply(out, generated, m, count);
}

VERA_CLONES void apply_row(float* out, const float* generated, const float* m, int64_t count) {
  apply(out, generated, m, count);
}

template <class Generated>
void sum_rows(const ColourImages& images, int64_t width, int64_t height, double* rows) {
  const auto* generated = static_cast<const Generated*>(images.generated);
#pragma omp parallel for schedule(static)
  for (int64_t y = 0; y < height; ++y) {
    sum_row(images.ring + y * width, images.photo + y * images.photo_stride,
            generated + y * images.generated_stride, width, rows + y * kColourSums);
  }
}

template <class Generated>
void apply_rows(const ColourImages& images, int64_t width, int64_t height, const float* affine,
                float* out) {
  const auto* generated = static_cast<const Generated*>(images.generated);
#pragma omp parallel for schedule(static)
  for (int64_t y = 0; y < height; ++y) {
    apply_row(out + 3 * y * width, generated + y * images.generated_stride, affine, width);
  }
}

}  // namespace

void colour_sums_cpu(const ColourImages& images, int64_t width, int64_t height, double* rows,
                     double* sums) {
  if (images.generated_is_float) {
    sum_rows<float>(images, width, height, rows);
  } else {
    sum_rows<uint8_t>(images, width, height, rows);
  }
  std::fill(sums, sums + kColourSums, 0.0);
  for (int64_t y = 0; y < height; ++y) {
    for (int i = 0; i < kColourSums; ++i) sums[i] += rows[y * kColourSums + i];
  }
}

void colour_apply_cpu(const ColourImages& images, int64_t width, int64_t height,
                      const float* affine, float* out) {
  if (images.generated_is_float) {
    apply_rows<float>(images, width, height, affine, out);
  } else {
    apply_rows<uint8_t>(images, width, height, affine, out);
  }
}

}  // namespace vera
