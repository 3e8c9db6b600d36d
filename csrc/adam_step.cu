// CUDA: one block per row; the block of a representative does its whole group.
#include "adam_step.h"
#include "cuda.cuh"

namespace vera {
namespace {

constexpr int kThreads = 64;

// Rows that name `leader`. Scanning costs n k cached reads, and needs no scratch and no second
// launch.
struct Members {
  const std::int32_t* tie;
  std::int64_t rows, leader;
  __device__ std::int64_t begin() const { return tie == nullptr ? leader : 0; }
  __device__ std::int64_t end() const { return tie == nullptr ? leader + 1 : rows; }
  __device__ bool has(std::int64_t row) const { return tie == nullptr || tie[row] == leader; }
};

template <class T>
__global__ void adam_step_kernel(AdamArrays<T> a, AdamSettings s) {
  const std::int64_t leader = blockIdx.x;
  const std::int64_t sample = leader / s.k;
  if ((a.tie != nullptr && a.tie[leader] != leader) || a.step[sample] > s.steps) return;
  const Members members{a.tie, s.n * s.k, leader};
  for (std::int64_t row = members.begin(); a.frozen != nullptr && row < members.end(); ++row) {
    if (members.has(row) && a.frozen[row] != 0) return;
  }
  const AdamFactors<T> factors = adam_factors<T>(s, a.step[sample]);
  const T pull = a.latent_mean == nullptr ? T(0) : T(2 * s.regulariser / double(s.k * s.d));
  for (std::int64_t i = threadIdx.x; i < s.d; i += blockDim.x) {
    T gradient = 0;
    for (std::int64_t row = members.begin(); row < members.end(); ++row) {
      if (!members.has(row)) continue;
      const T latent = a.latent[row * s.d + i];
      const T mean = a.latent_mean == nullptr ? latent : a.latent_mean[row % s.k * s.d + i];
      gradient += row_gradient(a.grad[row * s.d + i], latent, mean, pull);
    }
    const std::int64_t at = leader * s.d + i;
    adam_update(a.latent[at], a.first[at], a.second[at], gradient, factors);
    for (std::int64_t row = members.begin(); row < members.end(); ++row) {
      if (row != leader && members.has(row)) a.latent[row * s.d + i] = a.latent[at];
    }
  }
}

template <class T>
void launch_adam_step(const AdamArrays<T>& arrays, const AdamSettings& settings, int device,
                      std::uintptr_t stream) {
  const DeviceGuard guard(device);
  launch("adam_step", adam_step_kernel<T>, settings.n * settings.k, kThreads, stream, arrays,
         settings);
}

}  // namespace

void adam_step_cuda(const AdamArrays<float>& arrays, const AdamSettings& settings, int device,
                    std::uintptr_t stream) {
  launch_adam_step(arrays, settings, device, stream);
}

void adam_step_cuda(const AdamArrays<double>& arrays, const AdamSettings& settings, int device,
                    std::uintptr_t stream) {
  launch_adam_step(arrays, settings, device, stream);
}

}  // namespace vera
