// Colour match: mean and standard deviation transfer (Reinhard et al. 2001) from the photo to the
// generated image, measured on pixel pairs in a ring. It runs in the orthonormal opponent axes of
// Ruderman that Reinhard uses, without the logarithm, so the transfer is one affine map of RGB:
//   l = (R + G + B) / sqrt 3,   a = (R + G - 2 B) / sqrt 6,   b = (R - G) / sqrt 2.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace vera {

constexpr int kColourSums = 13;  // count, then sums and sums of squares of l, a, b for each image

struct ColourImages {
  const uint8_t* photo;   // first pixel of the region
  int64_t photo_stride;   // bytes from row to row
  const void* generated;  // uint8 or float32 RGB
  bool generated_is_float;
  int64_t generated_stride;  // elements from row to row
  const uint8_t* ring;       // [height, width]; nonzero pixels are measured
};

VERA_HD void opponent(double red, double green, double blue, double* axes) {
  axes[0] = (red + green + blue) * 0.57735026918962576451;
  axes[1] = (red + green - 2.0 * blue) * 0.40824829046386301637;
  axes[2] = (red - green) * 0.70710678118654752440;
}

// `rows` [height, kColourSums] is workspace; `sums` its total, added in row order.
void colour_sums_cpu(const ColourImages& images, int64_t width, int64_t height, double* rows,
                     double* sums);

// out [height, width, 3] = matrix * generated + offset; `affine` is 3 x 4, row by row.
void colour_apply_cpu(const ColourImages& images, int64_t width, int64_t height,
                      const float* affine, float* out);

}  // namespace vera
