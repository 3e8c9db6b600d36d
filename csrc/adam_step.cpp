// CPU: one thread, because W+ of a case is a few thousand numbers and starting a team costs more.
#include "adam_step.h"

#include <algorithm>

namespace vera {
namespace {

constexpr std::int32_t kNone = -1;

// The rows of every group as a chain in ascending order: links[0, r] is the first row of the group
// that r represents, links[1, r] the row after r.
void chain_rows(const std::int32_t* tie, std::int64_t rows, std::int32_t* links) {
  std::int32_t* head = links;
  std::int32_t* next = links + rows;
  std::fill(head, head + rows, kNone);
  for (std::int64_t row = rows - 1; row >= 0; --row) {
    const std::int64_t group = tie == nullptr ? row : tie[row];
    next[row] = head[group];
    head[group] = static_cast<std::int32_t>(row);
  }
}

template <class T>
struct Group {
  const AdamArrays<T>& arrays;
  const AdamSettings& settings;
  const std::int32_t* next;
  std::int32_t head;

  bool frozen() const {
    for (std::int32_t row = head; arrays.frozen != nullptr && row != kNone; row = next[row]) {
      if (arrays.frozen[row] != 0) return true;
    }
    return false;
  }
};

// Elements of a row are worked in blocks, so that the block's gradient stays in registers.
constexpr std::int64_t kBlock = 64;

template <class T>
VERA_HD void step_group(const Group<T>& group, std::int64_t leader) {
  const AdamArrays<T>& a = group.arrays;
  const AdamSettings& s = group.settings;
  const AdamFactors<T> factors = adam_factors<T>(s, a.step[leader / s.k]);
  const T pull = a.latent_mean == nullptr ? T(0) : T(2 * s.regulariser / double(s.k * s.d));
  for (std::int64_t begin = 0; begin < s.d; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, s.d - begin);
    T gradient[kBlock] = {};
    for (std::int32_t row = group.head; row != kNone; row = group.next[row]) {
      const T* grad = a.grad + row * s.d + begin;
      const T* latent = a.latent + row * s.d + begin;
      const T* mean = a.latent_mean == nullptr ? latent : a.latent_mean + row % s.k * s.d + begin;
      for (std::int64_t i = 0; i < count; ++i) {
        gradient[i] += row_gradient(grad[i], latent[i], mean[i], pull);
      }
    }
    T* latent = a.latent + leader * s.d + begin;
    T* first = a.first + leader * s.d + begin;
    T* second = a.second + leader * s.d + begin;
    for (std::int64_t i = 0; i < count; ++i) {
      adam_update(latent[i], first[i], second[i], gradient[i], factors);
    }
    for (std::int32_t row = group.head; row != kNone; row = group.next[row]) {
      if (row != leader) std::copy(latent, latent + count, a.latent + row * s.d + begin);
    }
  }
}

template <class T>
VERA_HD void step_groups(const AdamArrays<T>& a, const AdamSettings& s, std::int32_t* links) {
  const std::int64_t rows = s.n * s.k;
  for (std::int64_t row = 0; row < rows; ++row) {
    const Group<T> group{a, s, links + rows, links[row]};
    if (group.head == kNone || a.step[row / s.k] > s.steps || group.frozen()) continue;
    step_group(group, row);
  }
}

VERA_CLONES void run(const AdamArrays<float>& a, const AdamSettings& s, std::int32_t* links) {
  step_groups(a, s, links);
}
VERA_CLONES void run(const AdamArrays<double>& a, const AdamSettings& s, std::int32_t* links) {
  step_groups(a, s, links);
}

}  // namespace

void adam_step_cpu(const AdamArrays<float>& arrays, const AdamSettings& settings,
                   std::int32_t* links) {
  chain_rows(arrays.tie, settings.n * settings.k, links);
  run(arrays, settings, links);
}

void adam_step_cpu(const AdamArrays<double>& arrays, const AdamSettings& settings,
                   std::int32_t* links) {
  chain_rows(arrays.tie, settings.n * settings.k, links);
  run(arrays, settings, links);
}

}  // namespace vera
