// The CUDA kernels. A warp handles a part of a sample, block by block. Each lane computes the four normal
// numbers of one counter; after an exchange in shared memory it works on four neighbouring elements, with
// 16-byte accesses if the layout allows. There is no torch here: nvcc alone, or g++ with the tests' emulated
// GPU, can compile it.
#ifndef DDPMX_EMULATE
#include <cuda_runtime.h>
#endif

#include "noise_ops.h"

namespace ddpmx::cuda {
namespace {

constexpr int kWarp = 32, kWarps = 8;

struct Four {
  float v[4];
};

// The elements of a lane: four of a sample, from `first` on, of which `count` exist.
struct Spot {
  int64_t sample, first;
  int count;
};

// Each kernel has two forms: samples are contiguous in every tensor, or `strided` in at least one.
template <bool strided>
__device__ int64_t offset_of(const View& view, const Spot& spot, int i) {
  int64_t element = spot.first + i, offset = spot.sample * view.batch_stride;
  if constexpr (strided) {
#pragma unroll 1
    for (int d = view.dims - 1; d >= 0; --d) {
      offset += element % view.size[d] * view.stride[d];
      element /= view.size[d];
    }
  }
  return offset + element;  // `element` is 0 by now if strided
}

// Whether the four elements are contiguous and their address is aligned to their total size.
__device__ bool is_aligned_four(const View& view, const Spot& spot) {
  const int64_t offset = spot.sample * view.batch_stride + spot.first;
  return view.dims == 0 && spot.count == 4 && offset % 4 == 0 &&
         reinterpret_cast<uintptr_t>(view.data) % (view.narrow ? 8 : 16) == 0;
}

template <bool strided>
__device__ Four load(const View& view, const Spot& spot) {
  Four four = {};
  if (is_aligned_four(view, spot)) {
    const int64_t offset = (spot.sample * view.batch_stride + spot.first) / 4;
    if (view.narrow) {
      const ushort4 all = static_cast<const ushort4*>(view.data)[offset];
      four = {from_bfloat16(all.x), from_bfloat16(all.y), from_bfloat16(all.z), from_bfloat16(all.w)};
    } else {
      const float4 all = static_cast<const float4*>(view.data)[offset];
      four = {all.x, all.y, all.z, all.w};
    }
    return four;
  }
#pragma unroll 1
  for (int i = 0; i < spot.count; ++i) {
    const int64_t offset = offset_of<strided>(view, spot, i);
    const float value = view.narrow ? from_bfloat16(static_cast<const uint16_t*>(view.data)[offset])
                                    : static_cast<const float*>(view.data)[offset];
    if (i == 0) four.v[0] = value;
    if (i == 1) four.v[1] = value;
    if (i == 2) four.v[2] = value;
    if (i == 3) four.v[3] = value;
  }
  return four;
}

template <bool strided>
__device__ void store(const View& view, const Spot& spot, const Four& four) {
  if (is_aligned_four(view, spot)) {
    const int64_t offset = (spot.sample * view.batch_stride + spot.first) / 4;
    if (view.narrow) {
      static_cast<ushort4*>(view.data)[offset] = make_ushort4(to_bfloat16(four.v[0]), to_bfloat16(four.v[1]),
                                                              to_bfloat16(four.v[2]), to_bfloat16(four.v[3]));
    } else {
      static_cast<float4*>(view.data)[offset] = make_float4(four.v[0], four.v[1], four.v[2], four.v[3]);
    }
    return;
  }
#pragma unroll 1
  for (int i = 0; i < spot.count; ++i) {
    const int64_t offset = offset_of<strided>(view, spot, i);
    const float value = i == 0 ? four.v[0] : i == 1 ? four.v[1] : i == 2 ? four.v[2] : four.v[3];
    if (view.narrow) {
      static_cast<uint16_t*>(view.data)[offset] = to_bfloat16(value);
    } else {
      static_cast<float*>(view.data)[offset] = value;
    }
  }
}

// The normal numbers of a lane's four elements. All lanes of a warp must call it; `shared` has kBlock floats
// per warp.
__device__ Four make_noise(const Noise& noise, const Spot& spot, float* shared) {
  const int lane = threadIdx.x % kWarp;
  float* values = shared + threadIdx.x / kWarp * kBlock;
  const uint64_t id = noise.ids[spot.sample * noise.id_stride];
  const uint64_t counter = static_cast<uint64_t>(spot.first / kBlock) * kLanes + lane;
  uint64_t c[4][1] = {{counter}, {noise.stream}, {id}, {id >> 32}};
  philox<Lane>(c, RoundKeys(noise.seed));
  DDPMX_UNROLL
  for (int pair = 0; pair < 2; ++pair) {
    float k, f;
    split(static_cast<uint32_t>(c[2 * pair][0]), k, f);
    float* to = values + 2 * pair * kLanes + lane;
    on_circle(squared_radius(k, f), static_cast<uint32_t>(c[2 * pair + 1][0]), to[0], to[kLanes]);
  }
  __syncwarp();
  const Four four = {values[4 * lane], values[4 * lane + 1], values[4 * lane + 2], values[4 * lane + 3]};
  __syncwarp();
  return four;
}

template <bool strided>
__device__ Four noise_of(const Noise& noise, const Spot& spot, float* shared) {
  return noise.given.data ? load<strided>(noise.given, spot) : make_noise(noise, spot, shared);
}

// Calls body(spot) for each block of this warp's items, and done(item) after each item.
template <class Body, class Done>
__device__ void each_block(const Batch& batch, Body body, Done done) {
  const int lane = threadIdx.x % kWarp;
  const int64_t warp = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp,
                warps = static_cast<int64_t>(gridDim.x) * kWarps;
  const int64_t parts_per_sample = parts(batch.elements);
  for (int64_t item = warp; item < batch.samples * parts_per_sample; item += warps) {
    const int64_t sample = item / parts_per_sample, start = item % parts_per_sample * kPart;
    const int64_t end = start + kPart < batch.elements ? start + kPart : batch.elements;
    for (int64_t block = start; block < end; block += kBlock) {
      const int64_t first = block + 4 * lane, remaining = end - first;
      body(Spot{sample, first, static_cast<int>(remaining < 0 ? 0 : remaining < 4 ? remaining : 4)});
    }
    done(item);
  }
}

struct NoAction {
  __device__ void operator()(int64_t) const {}
};

__global__ void __launch_bounds__(kWarp* kWarps) normal_kernel(const __grid_constant__ Normal op) {
  __shared__ float shared[kWarps * kBlock];
  View out;
  out.data = op.out;
  out.batch_stride = op.batch.elements;
  each_block(
      op.batch, [&](const Spot& spot) { store<false>(out, spot, make_noise(op.noise, spot, shared)); },
      NoAction());
}

__global__ void __launch_bounds__(kWarp* kWarps) bits_kernel(const __grid_constant__ Bits op) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < op.batch.samples) op.out[i] = bits_of_sample(op.noise, op.noise.ids[i * op.noise.id_stride]);
}

template <bool strided>
__global__ void __launch_bounds__(kWarp* kWarps, strided ? 2 : 3)
    add_noise_kernel(const __grid_constant__ AddNoise op) {
  __shared__ float shared[kWarps * kBlock];
  each_block(
      op.batch,
      [&](const Spot& spot) {
        const float signal = op.signal.at(spot.sample), sigma = op.sigma.at(spot.sample);
        const Four x = load<strided>(op.x, spot), noise = noise_of<strided>(op.noise, spot, shared);
        Four out;
        DDPMX_UNROLL
        for (int i = 0; i < 4; ++i) out.v[i] = mix(signal, x.v[i], sigma, noise.v[i]);
        store<strided>(op.out, spot, out);
      },
      NoAction());
}

template <Norm norm, bool strided>
__global__ void __launch_bounds__(kWarp* kWarps, strided ? 2 : 3)
    weighted_loss_kernel(const __grid_constant__ WeightedLoss op) {
  __shared__ float shared[kWarps * kBlock];
  float sum = 0;
  each_block(
      op.batch,
      [&](const Spot& spot) {
        const float target_x = op.target_x.at(spot.sample), target_eps = op.target_eps.at(spot.sample);
        const float scale = gradient_scale(op.weight.at(spot.sample), op.batch.elements);
        const Four output = load<strided>(op.output, spot), x_start = load<strided>(op.x_start, spot),
                   noise = noise_of<strided>(op.noise, spot, shared);
        Four gradient;
        DDPMX_UNROLL
        for (int i = 0; i < 4; ++i) {
          const float r = residual(output.v[i], target_x, x_start.v[i], target_eps, noise.v[i]);
          if (i < spot.count) sum += error_of<norm>(r, op.delta);
          gradient.v[i] = scale * slope_of<norm>(r, op.delta);
        }
        if (op.gradient.data) store<strided>(op.gradient, spot, gradient);
      },
      [&](int64_t item) {
        double total = sum;
        for (int offset = kWarp / 2; offset > 0; offset /= 2)
          total += __shfl_xor_sync(0xFFFFFFFFu, total, offset);
        if (threadIdx.x % kWarp == 0) op.partial[item] = total;
        sum = 0;
      });
}

__global__ void __launch_bounds__(kWarp* kWarps) finish_loss_kernel(const __grid_constant__ WeightedLoss op) {
  const int64_t sample = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (sample < op.batch.samples) op.loss[sample] = loss_of_sample(op, sample);
}

template <bool strided>
__global__ void __launch_bounds__(kWarp* kWarps, strided ? 2 : 3)
    reverse_step_kernel(const __grid_constant__ ReverseStep op) {
  __shared__ float shared[kWarps * kBlock];
  each_block(
      op.batch,
      [&](const Spot& spot) {
        Four x = {}, x0 = {}, noise = {};
        const auto sum_of = [&](const Sum& sum) {
          Four total = {};
          for (int k = 0; k < sum.terms; ++k) {
            const int source = sum.source[k];
            const float c = sum.coefficient[k];
            Four term;
            if (source == kX) term = x;
            else if (source == kX0) term = x0;
            else if (source == kNoise) term = noise;
            else term = load<strided>(op.source[source], spot);
            DDPMX_UNROLL
            for (int i = 0; i < 4; ++i)
              total.v[i] = k == 0 ? first_term(c, term.v[i]) : add_term(total.v[i], c, term.v[i]);
          }
          return total;
        };
        if (op.source[kX].data) x = load<strided>(op.source[kX], spot);
        if (op.needs_noise) noise = noise_of<strided>(op.noise, spot, shared);
        const float limit = op.clip.at(spot.sample);
        x0 = sum_of(op.x0);
        DDPMX_UNROLL
        for (int i = 0; i < 4; ++i) x0.v[i] = clamp(x0.v[i], limit);
        const Four x_next = sum_of(op.x_next);
        if (op.m_out.data) store<strided>(op.m_out, spot, sum_of(op.m));
        store<strided>(op.out, spot, x_next);
      },
      NoAction());
}

// Launches a warp for each item, up to the size of a grid.
template <class Op>
int launch(void (*kernel)(Op), const Op& op, int64_t threads, void* stream) {
  if (threads == 0) return 0;
  const int64_t blocks = (threads + kWarp * kWarps - 1) / (kWarp * kWarps);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF));
  config.blockDim = dim3(kWarp * kWarps);
  config.stream = static_cast<cudaStream_t>(stream);
  return cudaLaunchKernelEx(&config, kernel, op);
}

}  // namespace

int normal(const Normal& op, void* stream) {
  return launch(normal_kernel, op, items(op.batch) * kWarp, stream);
}

int bits(const Bits& op, void* stream) { return launch(bits_kernel, op, op.batch.samples, stream); }

int add_noise(const AddNoise& op, void* stream) {
  const bool strided = op.x.dims || op.out.dims || op.noise.given.dims;
  return launch(strided ? add_noise_kernel<true> : add_noise_kernel<false>, op, items(op.batch) * kWarp,
                stream);
}

template <Norm norm>
int weighted_loss_of(const WeightedLoss& op, void* stream) {
  const bool strided = op.output.dims || op.x_start.dims || op.gradient.dims || op.noise.given.dims;
  return launch(strided ? weighted_loss_kernel<norm, true> : weighted_loss_kernel<norm, false>, op,
                items(op.batch) * kWarp, stream);
}

int weighted_loss(const WeightedLoss& op, void* stream) {
  const int error = op.norm == Norm::l1   ? weighted_loss_of<Norm::l1>(op, stream)
                    : op.norm == Norm::l2 ? weighted_loss_of<Norm::l2>(op, stream)
                                          : weighted_loss_of<Norm::huber>(op, stream);
  return error ? error : launch(finish_loss_kernel, op, op.batch.samples, stream);
}

int reverse_step(const ReverseStep& op, void* stream) {
  bool strided = op.out.dims || op.m_out.dims || op.noise.given.dims;
  for (const View& view : op.source) strided = strided || view.dims;
  return launch(strided ? reverse_step_kernel<true> : reverse_step_kernel<false>, op, items(op.batch) * kWarp,
                stream);
}

}  // namespace ddpmx::cuda
