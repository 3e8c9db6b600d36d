// Multi-band blending (Burt & Adelson 1983), exact outside a band inside the mask.
//
// With complementary weights only the difference d = generated - photo needs a pyramid:
//   r_n = w_n d_n,   r_i = up(r_{i+1}) + w_i (d_i - up(d_{i+1})),   u = photo + r_0,
// where d_i and w_i are Gaussian pyramids of d and of w = [distance >= band / 2]. Near the two ends
// of the band, u is drawn to the photo and to the generated image, so that both are met exactly.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace vera {

constexpr int kMultibandMaxBands = 10;

struct MultibandImages {
  const uint8_t* photo;   // first pixel of the region
  int64_t photo_stride;   // bytes from row to row
  const float* distance;  // [height, width]; to the nearest pixel outside the mask, 0 outside
  const void* generated;  // uint8 or float32 RGB
  bool generated_is_float;
  int64_t generated_stride;  // elements from row to row
  uint8_t* out;              // same layout as photo
};

VERA_HD float multiband_weight(float distance, float band) {
  return distance >= 0.5f * band ? 1.0f : 0.0f;
}

// What is added to the photo: `blended` in the middle of the band, 0 and `difference` at its ends.
VERA_HD float multiband_window(float blended, float difference, float distance, float band) {
  const float outer = 4.0f / band * distance, inner = 4.0f / band * (band - distance);
  float share = outer < inner ? outer : inner;
  share = share < 1.0f ? share : 1.0f;
  share = share > 0.0f ? share : 0.0f;
  const float end = distance >= 0.5f * band ? difference : 0.0f;
  return end + share * (blended - end);
}

int64_t multiband_workspace_bytes(int64_t width, int64_t height, int bands);

// Writes out where distance > 0.
void multiband_blend_cpu(const MultibandImages& images, int64_t width, int64_t height, int bands,
                         float band, void* workspace);

}  // namespace vera
