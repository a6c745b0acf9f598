// An emulated GPU, to run the kernels of csrc/cuda.cu in tests on a CPU. The threads of a block are fibers of
// one thread: each runs to its next barrier, then the next one does. Blocks run one after another, so races
// between blocks do not show.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#define DDPMX_EMULATE
#define __global__
#define __device__
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y = 1, z = 1;
  dim3(unsigned x = 1) : x(x) {}
};
struct float4 {
  float x, y, z, w;
};
struct ushort4 {
  uint16_t x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline ushort4 make_ushort4(uint16_t x, uint16_t y, uint16_t z, uint16_t w) { return {x, y, z, w}; }

using cudaStream_t = void*;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  cudaStream_t stream;
};

inline dim3 threadIdx, blockIdx, gridDim, blockDim;

namespace emulated {

constexpr size_t kStack = 1 << 16;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  bool done = false;
};

inline ucontext_t scheduler;
inline std::vector<Fiber>* fibers;
inline std::function<void()> body;
inline std::vector<double> slots;  // the values that lanes exchange

inline void pause() { swapcontext(&(*fibers)[threadIdx.x].context, &scheduler); }

inline void enter() {
  body();
  (*fibers)[threadIdx.x].done = true;
  pause();
}

inline void run_block(unsigned threads) {
  std::vector<Fiber> all(threads);
  fibers = &all;
  slots.assign(threads, 0);
  for (Fiber& fiber : all) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    makecontext(&fiber.context, enter, 0);
  }
  for (unsigned running = threads; running > 0;) {
    for (unsigned t = 0; t < threads; ++t) {
      if (all[t].done) continue;
      threadIdx.x = t;
      swapcontext(&scheduler, &all[t].context);
      running -= all[t].done;
    }
  }
}

}  // namespace emulated

inline void __syncwarp() { emulated::pause(); }

inline double __shfl_xor_sync(unsigned, double value, int mask) {
  emulated::slots[threadIdx.x] = value;
  emulated::pause();
  const double other = emulated::slots[threadIdx.x ^ static_cast<unsigned>(mask)];
  emulated::pause();
  return other;
}

template <class Op>
int cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Op), const Op& op) {
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  emulated::body = [kernel, &op] { kernel(op); };
  for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) emulated::run_block(blockDim.x);
  return 0;
}
