#include "multiband.h"

#include <algorithm>
#include <cstring>

#include "grey_level.h"

namespace vera {
namespace {

constexpr int64_t kStrip = 16;  // rows per task
constexpr int64_t kPad = 16;    // floats before and after a buffered row

// Planes 0..2 are the difference, 3 the weight, 4..6 the collapsed result (not on level 0).
struct Level {
  int64_t width, height, stride;
  float* planes;
  float* row(int plane, int64_t y) const { return planes + (plane * height + y) * stride; }
};

struct Pyramid {
  int bands;
  Level level[kMultibandMaxBands + 1];
  float* scratch;  // per strip: buffered rows
  int64_t scratch_stride;
  float* buffer(int64_t strip, int row) const {
    return scratch + (strip * 8 + row) * scratch_stride + kPad;
  }
};

int64_t lay_out(Pyramid* pyramid, int64_t width, int64_t height, int bands, float* base) {
  int64_t used = 0;
  pyramid->bands = bands;
  for (int i = 0; i <= bands; ++i) {
    const int64_t stride = (width + 15) / 16 * 16;
    pyramid->level[i] = {width, height, stride, base == nullptr ? nullptr : base + used};
    used += stride * height * (i == 0 ? 4 : 7);
    width = (width + 1) / 2, height = (height + 1) / 2;
  }
  const Level& finest = pyramid->level[0];
  pyramid->scratch_stride = finest.stride + 2 * kPad;
  pyramid->scratch = base == nullptr ? nullptr : base + used;
  return used + (finest.height + kStrip - 1) / kStrip * 8 * pyramid->scratch_stride;
}

template <class Body>
void for_rows(int64_t height, const Body& body) {
  const int64_t strips = (height + kStrip - 1) / kStrip;
#pragma omp parallel for schedule(static) if (strips > 2)
  for (int64_t strip = 0; strip < strips; ++strip) {
    for (int64_t y = strip * kStrip; y < std::min(height, (strip + 1) * kStrip); ++y)
      body(strip, y);
  }
}

template <class Generated>
VERA_HD void split(float* __restrict__ red, float* __restrict__ green, float* __restrict__ blue,
                   const Generated* __restrict__ generated, const uint8_t* __restrict__ photo,
                   int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    red[i] = static_cast<float>(generated[3 * i]) - static_cast<float>(photo[3 * i]);
    green[i] = static_cast<float>(generated[3 * i + 1]) - static_cast<float>(photo[3 * i + 1]);
    blue[i] = static_cast<float>(generated[3 * i + 2]) - static_cast<float>(photo[3 * i + 2]);
  }
}

VERA_CLONES void split_row(float* red, float* green, float* blue, const uint8_t* generated,
                           const uint8_t* photo, int64_t count) {
  split(red, green, blue, generated, photo, count);
}

VERA_CLONES void split_row(float* red, float* green, float* blue, const float* generated,
                           const uint8_t* photo, int64_t count) {
  split(red, green, blue, generated, photo, count);
}

VERA_CLONES void weight_row(float* __restrict__ weight, const float* __restrict__ distance,
                            float band, int64_t count) {
  for (int64_t i = 0; i < count; ++i) weight[i] = multiband_weight(distance[i], band);
}

VERA_CLONES void down_vertical(float* __restrict__ sum, const float* a, const float* b,
                               const float* c, const float* d, const float* e, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] = a[i] + e[i] + 4.0f * (b[i] + d[i]) + 6.0f * c[i];
}

VERA_CLONES void down_horizontal(float* __restrict__ out, const float* __restrict__ sum,
                                 int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float* s = sum + 2 * i;
    out[i] = (s[-2] + s[2] + 4.0f * (s[-1] + s[1]) + 6.0f * s[0]) * (1.0f / 256.0f);
  }
}

VERA_CLONES void up_vertical(float* __restrict__ out, const float* a, const float* b,
                             const float* c, bool odd, int64_t count) {
  if (odd) {
    for (int64_t i = 0; i < count; ++i) out[i] = 0.5f * (b[i] + c[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = 0.125f * (a[i] + c[i]) + 0.75f * b[i];
  }
}

VERA_CLONES void up_horizontal(float* __restrict__ out, const float* __restrict__ in,
                               int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    out[2 * i] = 0.125f * (in[i - 1] + in[i + 1]) + 0.75f * in[i];
    out[2 * i + 1] = 0.5f * (in[i] + in[i + 1]);
  }
}

VERA_CLONES void collapse_row(float* __restrict__ result, const float* __restrict__ up_result,
                              const float* __restrict__ up_difference,
                              const float* __restrict__ weight,
                              const float* __restrict__ difference, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    result[i] = up_result[i] + weight[i] * (difference[i] - up_difference[i]);
  }
}

VERA_CLONES void multiply_row(float* __restrict__ out, const float* __restrict__ a,
                              const float* __restrict__ b, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = a[i] * b[i];
}

void replicate_ends(float* row, int64_t count) {
  for (int64_t i = 1; i <= 2; ++i) {
    row[-i] = row[0];
    row[count - 1 + i] = row[count - 1];
  }
}

void reduce(const Pyramid& pyramid, int index) {
  const Level& fine = pyramid.level[index];
  const Level& coarse = pyramid.level[index + 1];
  for_rows(coarse.height, [&](int64_t strip, int64_t y) {
    float* sum = pyramid.buffer(strip, 0);
    for (int plane = 0; plane < 4; ++plane) {
      const float* rows[5];
      for (int k = 0; k < 5; ++k) {
        rows[k] = fine.row(plane, std::clamp<int64_t>(2 * y + k - 2, 0, fine.height - 1));
      }
      down_vertical(sum, rows[0], rows[1], rows[2], rows[3], rows[4], fine.width);
      replicate_ends(sum, fine.width);
      down_horizontal(coarse.row(plane, y), sum, coarse.width);
    }
  });
}

// Row `y` of the next finer level from a plane of `coarse`.
void expand_row(const Level& coarse, int plane, int64_t y, float* buffer, float* out) {
  const int64_t at = y / 2;
  const float* above = coarse.row(plane, std::max<int64_t>(at - 1, 0));
  const float* below = coarse.row(plane, std::min(at + 1, coarse.height - 1));
  up_vertical(buffer, above, coarse.row(plane, at), below, (y & 1) != 0, coarse.width);
  replicate_ends(buffer, coarse.width);
  up_horizontal(out, buffer, coarse.width);
}

// r of one row and channel of `index`, into `result`.
void collapse(const Pyramid& pyramid, int index, int channel, int64_t strip, int64_t y,
              float* result) {
  const Level& level = pyramid.level[index];
  const Level& coarse = pyramid.level[index + 1];
  float* buffer = pyramid.buffer(strip, 0);
  float* up_result = pyramid.buffer(strip, 1);
  float* up_difference = pyramid.buffer(strip, 2);
  expand_row(coarse, 4 + channel, y, buffer, up_result);
  expand_row(coarse, channel, y, buffer, up_difference);
  collapse_row(result, up_result, up_difference, level.row(3, y), level.row(channel, y),
               level.width);
}

template <class Generated>
void write_row(uint8_t* out, const uint8_t* photo, const Generated* generated,
               const float* distance, float* const* blended, float band, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (!(distance[i] > 0.0f)) continue;
    for (int channel = 0; channel < 3; ++channel) {
      const int64_t at = 3 * i + channel;
      const float original = static_cast<float>(photo[at]),
                  target = static_cast<float>(generated[at]);
      const float sum =
          original + multiband_window(blended[channel][i], target - original, distance[i], band);
      out[at] = grey_level(distance[i] >= band ? target : sum);
    }
  }
}

template <class Generated>
void blend(const MultibandImages& images, const Pyramid& pyramid, float band) {
  const Level& finest = pyramid.level[0];
  const auto* generated = static_cast<const Generated*>(images.generated);
  for_rows(finest.height, [&](int64_t, int64_t y) {
    split_row(finest.row(0, y), finest.row(1, y), finest.row(2, y),
              generated + y * images.generated_stride, images.photo + y * images.photo_stride,
              finest.width);
    weight_row(finest.row(3, y), images.distance + y * finest.width, band, finest.width);
  });
  for (int i = 0; i < pyramid.bands; ++i) reduce(pyramid, i);
  const Level& top = pyramid.level[pyramid.bands];
  for_rows(top.height, [&](int64_t, int64_t y) {
    for (int c = 0; c < 3; ++c)
      multiply_row(top.row(4 + c, y), top.row(c, y), top.row(3, y), top.width);
  });
  for (int i = pyramid.bands - 1; i > 0; --i) {
    const Level& level = pyramid.level[i];
    for_rows(level.height, [&](int64_t strip, int64_t y) {
      for (int c = 0; c < 3; ++c) collapse(pyramid, i, c, strip, y, level.row(4 + c, y));
    });
  }
  for_rows(finest.height, [&](int64_t strip, int64_t y) {
    float* blended[3];
    for (int c = 0; c < 3; ++c) {
      blended[c] = pyramid.buffer(strip, 3 + c);
      collapse(pyramid, 0, c, strip, y, blended[c]);
    }
    write_row(images.out + y * images.photo_stride, images.photo + y * images.photo_stride,
              generated + y * images.generated_stride, images.distance + y * finest.width, blended,
              band, finest.width);
  });
}

}  // namespace

int64_t multiband_workspace_bytes(int64_t width, int64_t height, int bands) {
  Pyramid pyramid{};
  return lay_out(&pyramid, width, height, bands, nullptr) * 4 + 64;
}

void multiband_blend_cpu(const MultibandImages& images, int64_t width, int64_t height, int bands,
                         float band, void* workspace) {
  const uintptr_t aligned = (reinterpret_cast<uintptr_t>(workspace) + 63) / 64 * 64;
  Pyramid pyramid{};
  lay_out(&pyramid, width, height, bands, reinterpret_cast<float*>(aligned));
  if (images.generated_is_float) {
    blend<float>(images, pyramid, band);
  } else {
    blend<uint8_t>(images, pyramid, band);
  }
}

}  // namespace vera
