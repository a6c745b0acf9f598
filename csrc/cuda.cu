// The CUDA kernels. A warp does a part of a sample, block by block; a lane computes one counter's four normal
// numbers, and after an exchange in shared memory works on four neighbouring elements, with 16-byte accesses
// where the layout allows. No torch here, so that nvcc alone, or g++ with the tests' emulation of a GPU, can
// compile it.
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

// Where a warp's lane is: four elements of a sample from `first` on, `count` of which exist.
struct Spot {
  int64_t sample, first;
  int count;
};

// The kernels come in two kinds: the elements of a sample lie side by side in every tensor, or are `strided`
// in one.
template <bool strided>
__device__ int64_t place(const View& view, const Spot& spot, int i) {
  int64_t element = spot.first + i, at = spot.sample * view.batch_stride;
  if constexpr (strided) {
#pragma unroll 1
    for (int d = view.dims - 1; d >= 0; --d) {
      at += element % view.size[d] * view.stride[d];
      element /= view.size[d];
    }
  }
  return at + element;  // all of it, or 0 once the dimensions have taken their shares
}

// Four neighbours that lie side by side, at an address that is a multiple of their size.
__device__ bool together(const View& view, const Spot& spot) {
  const int64_t at = spot.sample * view.batch_stride + spot.first;
  return view.dims == 0 && spot.count == 4 && at % 4 == 0 &&
         reinterpret_cast<uintptr_t>(view.data) % (view.narrow ? 8 : 16) == 0;
}

template <bool strided>
__device__ Four load(const View& view, const Spot& spot) {
  Four four = {};
  if (together(view, spot)) {
    const int64_t at = (spot.sample * view.batch_stride + spot.first) / 4;
    if (view.narrow) {
      const ushort4 all = static_cast<const ushort4*>(view.data)[at];
      four = {from_bfloat16(all.x), from_bfloat16(all.y), from_bfloat16(all.z), from_bfloat16(all.w)};
    } else {
      const float4 all = static_cast<const float4*>(view.data)[at];
      four = {all.x, all.y, all.z, all.w};
    }
    return four;
  }
#pragma unroll 1
  for (int i = 0; i < spot.count; ++i) {
    const int64_t at = place<strided>(view, spot, i);
    const float value = view.narrow ? from_bfloat16(static_cast<const uint16_t*>(view.data)[at])
                                    : static_cast<const float*>(view.data)[at];
    if (i == 0) four.v[0] = value;
    if (i == 1) four.v[1] = value;
    if (i == 2) four.v[2] = value;
    if (i == 3) four.v[3] = value;
  }
  return four;
}

template <bool strided>
__device__ void store(const View& view, const Spot& spot, const Four& four) {
  if (together(view, spot)) {
    const int64_t at = (spot.sample * view.batch_stride + spot.first) / 4;
    if (view.narrow) {
      static_cast<ushort4*>(view.data)[at] = make_ushort4(to_bfloat16(four.v[0]), to_bfloat16(four.v[1]),
                                                          to_bfloat16(four.v[2]), to_bfloat16(four.v[3]));
    } else {
      static_cast<float4*>(view.data)[at] = make_float4(four.v[0], four.v[1], four.v[2], four.v[3]);
    }
    return;
  }
#pragma unroll 1
  for (int i = 0; i < spot.count; ++i) {
    const int64_t at = place<strided>(view, spot, i);
    const float value = i == 0 ? four.v[0] : i == 1 ? four.v[1] : i == 2 ? four.v[2] : four.v[3];
    if (view.narrow) {
      static_cast<uint16_t*>(view.data)[at] = to_bfloat16(value);
    } else {
      static_cast<float*>(view.data)[at] = value;
    }
  }
}

// The normal numbers of a lane's four elements. All lanes of a warp call it together; `shared` has kBlock
// floats for each warp.
__device__ Four make_noise(const Noise& noise, const Spot& spot, float* shared) {
  const int lane = threadIdx.x % kWarp;
  float* mine = shared + threadIdx.x / kWarp * kBlock;
  const uint64_t id = noise.ids[spot.sample * noise.id_stride];
  const uint64_t counter = static_cast<uint64_t>(spot.first / kBlock) * kLanes + lane;
  uint64_t c[4][1] = {{counter}, {noise.stream}, {id}, {id >> 32}};
  philox<Lane>(c, noise.seed);
  DDPMX_UNROLL
  for (int pair = 0; pair < 2; ++pair) {
    float k, f;
    split(static_cast<uint32_t>(c[2 * pair][0]), k, f);
    float* to = mine + 2 * pair * kLanes + lane;
    on_circle(squared_radius(k, f), static_cast<uint32_t>(c[2 * pair + 1][0]), to[0], to[kLanes]);
  }
  __syncwarp();
  const Four four = {mine[4 * lane], mine[4 * lane + 1], mine[4 * lane + 2], mine[4 * lane + 3]};
  __syncwarp();
  return four;
}

template <bool strided>
__device__ Four noise_of(const Noise& noise, const Spot& spot, float* shared) {
  return noise.given.data ? load<strided>(noise.given, spot) : make_noise(noise, spot, shared);
}

// body(spot) for the blocks of each item that falls to this warp, then done(item).
template <class Body, class Done>
__device__ void each_block(const Batch& batch, Body body, Done done) {
  const int lane = threadIdx.x % kWarp;
  const int64_t warp = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp,
                warps = static_cast<int64_t>(gridDim.x) * kWarps;
  const int64_t of_sample = parts(batch.elements);
  for (int64_t item = warp; item < batch.samples * of_sample; item += warps) {
    const int64_t sample = item / of_sample, start = item % of_sample * kPart;
    const int64_t end = start + kPart < batch.elements ? start + kPart : batch.elements;
    for (int64_t block = start; block < end; block += kBlock) {
      const int64_t first = block + 4 * lane, left = end - first;
      body(Spot{sample, first, static_cast<int>(left < 0 ? 0 : left < 4 ? left : 4)});
    }
    done(item);
  }
}

struct Nothing {
  __device__ void operator()(int64_t) const {}
};

__global__ void __launch_bounds__(kWarp* kWarps) normal_kernel(const __grid_constant__ Normal op) {
  __shared__ float shared[kWarps * kBlock];
  View out;
  out.data = op.out;
  out.batch_stride = op.batch.elements;
  each_block(
      op.batch, [&](const Spot& spot) { store<false>(out, spot, make_noise(op.noise, spot, shared)); },
      Nothing());
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
      Nothing());
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
        if (op.noisy) noise = noise_of<strided>(op.noise, spot, shared);
        const float limit = op.clip.at(spot.sample);
        x0 = sum_of(op.x0);
        DDPMX_UNROLL
        for (int i = 0; i < 4; ++i) x0.v[i] = clamp(x0.v[i], limit);
        const Four x_next = sum_of(op.x_next);
        if (op.m_out.data) store<strided>(op.m_out, spot, sum_of(op.m));
        store<strided>(op.out, spot, x_next);
      },
      Nothing());
}

// A warp for each item, as far as a grid goes.
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
