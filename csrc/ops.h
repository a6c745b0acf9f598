// What the bindings hand to the kernels: plain data, no torch. cpu.cpp and cuda.cu each define the functions at the end.
#pragma once

#include <cstdint>

#include "element.h"

namespace ddpmx {

constexpr int kMaxDims = 12;     // of a sample, after merging; ddpmx/ops/native.py sends the rest to the reference
constexpr int kMaxHistory = 8;   // likewise

// A batch [B, ...] in memory. Elements of a sample are counted in logical (C) order, whatever their places are.
struct View {
  void* data = nullptr;
  int64_t batch_stride = 0;  // in elements, like the others
  int64_t size[kMaxDims], stride[kMaxDims];
  int dims = 0;         // 0: the elements of a sample lie side by side
  bool narrow = false;  // bfloat16, else float32
};

// A number for each sample: null data stands for the same `value` in all of them.
struct PerSample {
  const float* data = nullptr;
  int64_t stride = 0;
  float value = 0;
  DDPMX_INLINE float at(int64_t sample) const { return data ? data[sample * stride] : value; }
};

// Where the noise comes from: `given`, or else the generator, which is a function of (id, stream, seed).
struct Noise {
  View given;
  const int64_t* ids = nullptr;
  int64_t id_stride = 0;
  uint64_t seed = 0;
  uint32_t stream = 0;
};

struct Batch {
  int64_t samples = 0, elements = 0;  // elements of each sample
};

// out = signal·x + sigma·noise
struct AddNoise {
  Batch batch;
  View x, out;
  PerSample signal, sigma;
  Noise noise;
};

// loss = weight · mean of norm(output − (target_x·x_start + target_eps·noise)), and its gradient by output.
struct WeightedLoss {
  Batch batch;
  View output, x_start, gradient;  // gradient.data null: not wanted
  PerSample target_x, target_eps, weight;
  Noise noise;
  Norm norm = Norm::l2;
  float delta = 1;
  float* loss = nullptr;       // [B]
  double* partial = nullptr;   // [B, parts(elements)]: sums of the errors of each part
};

// Sums are over parts of this many elements first: the same sum for every number of threads.
constexpr int64_t kPart = 16 * kBlock;
DDPMX_INLINE int64_t parts(int64_t elements) { return (elements + kPart - 1) / kPart; }
DDPMX_INLINE int64_t items(const Batch& batch) { return batch.samples * parts(batch.elements); }

// What a term of a reverse step multiplies.
enum Source : int { kX, kOutput, kX0, kAnchor, kHistory, kNoise = kHistory + kMaxHistory, kSources };

// coefficient[0]·source[0] + …, from the left.
struct Sum {
  int terms = 0, source[kSources];
  float coefficient[kSources];

  void add(double c, int from) {  // a coefficient of 0 leaves the term out, so that its tensor may be missing
    if (c == 0) return;
    source[terms] = from;
    coefficient[terms++] = static_cast<float>(c);
  }
};

// ddpmx.Row: x0 = clamp(sum, clip), x_next = sum, m = sum.
struct ReverseStep {
  Batch batch;
  Sum x0, x_next, m;
  View source[kNoise];  // by Source; kX0 has none
  View out, m_out;      // m_out.data null: not wanted
  PerSample clip;       // infinity: not clipped
  bool noisy = false;
  Noise noise;
};

// normal numbers, float32
struct Normal {
  Batch batch;
  float* out = nullptr;  // [B, elements], contiguous
  Noise noise;
};

// 63 random bits for each sample
struct Bits {
  int64_t samples = 0;
  int64_t* out = nullptr;  // [B], contiguous
  Noise noise;
};

// 63 random bits of a sample: word 0 of counter 0, then word 1 less its last bit.
DDPMX_INLINE int64_t bits_of_sample(const Noise& noise, uint64_t id) {
  uint64_t words[4][1] = {{0}, {noise.stream}, {id}, {id >> 32}};
  philox<Lane>(words, noise.seed);
  return static_cast<int64_t>((words[0][0] & 0xFFFFFFFFu) << 31 | (words[1][0] & 0xFFFFFFFFu) >> 1);
}

// The CPU's loops at one level of vector instructions; each function does the items [first, last) of `items`.
struct Level {
  const char* name;
  bool (*runs_here)();
  void (*normal)(const Normal&, int64_t first, int64_t last);
  void (*add_noise)(const AddNoise&, int64_t first, int64_t last);
  void (*weighted_loss)(const WeightedLoss&, int64_t first, int64_t last);
  void (*reverse_step)(const ReverseStep&, int64_t first, int64_t last);
};

namespace cpu {
// What is compiled in, slowest first.
const Level* levels(int& count);

// What is too small to be worth a level: one number a sample. `bits` returns false when an id is negative.
bool bits(const Bits&);
void finish_loss(const WeightedLoss&);
}  // namespace cpu

namespace cuda {
// Queued on the stream (a cudaStream_t); they return a cudaError_t, 0 for success.
int normal(const Normal&, void* stream);
int bits(const Bits&, void* stream);
int add_noise(const AddNoise&, void* stream);
int weighted_loss(const WeightedLoss&, void* stream);
int reverse_step(const ReverseStep&, void* stream);
}  // namespace cuda

}  // namespace ddpmx
