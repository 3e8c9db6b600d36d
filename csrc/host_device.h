// What a formula needs to be compiled for the host, for the device, and for vectors of pixels.
#pragma once

#if defined(__CUDACC__)
#define VERA_HD __host__ __device__ __forceinline__
#else
#define VERA_HD __attribute__((always_inline)) inline
#endif

// Compiles a function once per instruction set and picks at load time, so that one wheel runs on
// every x86-64 and still uses AVX-512 where there is one. Everything the function calls must be
// inlined into it: a callee keeps its own instruction set, and so does an OpenMP region.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__) && __GNUC__ >= 12
#define VERA_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define VERA_HAS_CLONES 1
#else
#define VERA_CLONES
#define VERA_HAS_CLONES 0
#endif

namespace vera {

// The instruction set that VERA_CLONES functions run with on this machine.
inline const char* cpu_isa() {
#if VERA_HAS_CLONES
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3";
#endif
#if defined(__x86_64__)
  return "x86-64";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "generic";
#endif
}

}  // namespace vera
