// What the bindings hand to the kernels: plain data, no torch. cpu.cpp and cuda.cu each define the functions at the end.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "element.h"

namespace ddpmx {

constexpr int kMaxDims = 12;    // of a sample, after merging; ddpmx/ops/native.py sends the rest to the reference
constexpr int kMaxHistory = 8;  // likewise

// A batch [B, ...] in memory. Elements of a sample are counted in logical (C) order, whatever their places are.
struct View {
  void* data = nullptr;
  int64_t batch_stride = 0;  // in elements, like the others
  int64_t size[kMaxDims], stride[kMaxDims];
  int dims = 0;         // 0: the elements of a sample lie side by side
  bool narrow = false;  // bfloat16, else float32
};

// The view of a tensor [B, ...]. Dimensions of size 1 are dropped, and neighbours merged that lie in memory like one.
// False: too many are left.
inline bool make_view(View& view, void* data, bool narrow, int64_t dims, const int64_t* sizes, const int64_t* strides) {
  view.data = data;
  view.narrow = narrow;
  view.batch_stride = strides[0];
  for (int64_t d = 1; d < dims; ++d) {
    if (sizes[d] == 1) continue;
    if (view.dims && view.stride[view.dims - 1] == sizes[d] * strides[d]) {
      view.size[view.dims - 1] *= sizes[d];
    } else if (view.dims == kMaxDims) {
      return false;
    } else {
      view.size[view.dims++] = sizes[d];
    }
    view.stride[view.dims - 1] = strides[d];
  }
  if (view.dims == 1 && view.stride[0] == 1) view.dims = 0;
  return true;
}

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
  float* loss = nullptr;      // [B]
  double* partial = nullptr;  // [B, parts(elements)]: sums of the errors of each part
};

// Sums are over parts of this many elements first: the same sum for every number of threads.
constexpr int64_t kPart = 16 * kBlock;
DDPMX_INLINE int64_t parts(int64_t elements) { return (elements + kPart - 1) / kPart; }
DDPMX_INLINE int64_t items(const Batch& batch) { return batch.samples * parts(batch.elements); }

// The loss of a sample, once the sums of its parts are there.
DDPMX_INLINE float loss_of_sample(const WeightedLoss& op, int64_t sample) {
  const int64_t of_sample = parts(op.batch.elements);
  double total = 0;
  for (int64_t part = 0; part < of_sample; ++part) total += op.partial[sample * of_sample + part];
  return static_cast<float>(op.weight.at(sample) * (total / static_cast<double>(op.batch.elements)));
}

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

// ddpmx.Row: x0 = clamp(sum, clip), x_next = sum, m = sum. A source that no sum has may be missing.
struct ReverseStep {
  Batch batch;
  Sum x0, x_next, m;
  View source[kNoise];  // by Source; kX0 has none
  View out, m_out;      // m_out.data null: not wanted
  PerSample clip;       // infinity: not clipped
  bool noisy = false;
  Noise noise;

  // `row`: x0_from_x, x0_from_output, c_x, c_x0, c_anchor, c_noise, m_x, m_x0, then c_history.
  void set_row(const double* row, int count) {
    x0.add(row[0], kX);
    x0.add(row[1], kOutput);
    x_next.add(row[2], kX);
    x_next.add(row[3], kX0);
    x_next.add(row[4], kAnchor);
    for (int i = 8; i < count; ++i) x_next.add(row[i], kHistory + i - 8);
    x_next.add(row[5], kNoise);
    noisy = row[5] != 0;
    m.add(row[6], kX);
    m.add(row[7], kX0);
  }

  bool uses(int from) const {
    for (const Sum* sum : {&x0, &x_next, &m})
      for (int k = 0; k < sum->terms; ++k)
        if (sum->source[k] == from) return true;
    return false;
  }
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

// out = pixels[ids]/127.5 − 1, mirrored where `flip` and the image's bits begin with 0.
struct Fetch {
  int64_t images = 0, rows = 0, width = 0;  // rows of all channels of an image
  const uint8_t* pixels = nullptr;          // [any, rows, width]
  Noise noise;                              // its ids are the images'
  bool flip = false;
  float* out = nullptr;  // [images, rows, width]
};

// A tensor [images, channels, height, width] in memory; strides in elements.
struct Pixels {
  void* data = nullptr;
  int64_t stride[4] = {};
  bool narrow = false;  // bfloat16, else float32
};

constexpr int kSide = 7, kReach = kSide / 2, kTaps = kSide * kSide;  // of a depthwise convolution's kernel
constexpr int64_t kImages = 8;  // whose weight gradient is summed at a time: the same sum for every number of threads

// For out = bias + Σ weight[c, i, j]·x[y + i − 3, x + j − 3], pixels outside being 0: the gradients of weight and bias, which are
// sums over images and pixels of gradient·x, and of gradient.
struct DepthwiseGradient {
  int64_t images = 0, channels = 0, height = 0, width = 0;
  Pixels x, gradient;
  float* partial = nullptr;  // [parts of kImages images, channels, 7·7 + 1]
};

constexpr int kTile = 4, kPoints = 36;  // of minimal filtering, see winograd.h
constexpr int64_t kTiles = 72;          // done at a time

constexpr int64_t kWidest = 16;  // floats in the widest level's vectors

inline int64_t padded(int64_t channels) { return (channels + kWidest - 1) / kWidest * kWidest; }

// A 3×3 convolution with a margin of zeros, of pixels whose channels are neighbours in memory.
struct Convolution {
  int64_t images = 0, height = 0, width = 0, inputs = 0, outputs = 0;
  const float* x = nullptr;       // [images, height, width, inputs]
  const float* weight = nullptr;  // at its first tap; strides follow
  int64_t weight_output = 0, weight_input = 0, weight_y = 0, weight_x = 0;
  const float* bias = nullptr;  // [outputs], or none
  float* points = nullptr;      // [36, inputs, padded(outputs)]: what `weight_points` makes of the weight
  float* out = nullptr;         // [images, height, width, outputs]

  int64_t down() const { return (height + kTile - 1) / kTile; }
  int64_t across() const { return (width + kTile - 1) / kTile; }
  int64_t tiles_of_image() const { return down() * across(); }
  int64_t tiles() const { return images * tiles_of_image(); }
};

// The gradients of its weight and bias, summed in parts that are the same for every number of threads.
struct ConvolutionGradient {
  static constexpr int64_t kMost = 8;
  Convolution convolution;          // without weight, bias and out
  const float* gradient = nullptr;  // of out
  float* partial = nullptr;         // [parts, of_part()]

  int64_t tiles_of_part() const {
    const int64_t chunks = (convolution.tiles() + kTiles - 1) / kTiles;
    return (chunks + kMost - 1) / kMost * kTiles;
  }
  int64_t parts() const { return (convolution.tiles() + tiles_of_part() - 1) / tiles_of_part(); }
  int64_t of_part() const { return (9 * convolution.inputs + 1) * padded(convolution.outputs); }
};

// out = (g − mean)/√(variance + epsilon)·gamma + beta, where g is x or its GELU, and mean and variance are over an image.
struct Normalisation {
  int64_t images = 0, elements = 0, channels = 0;  // elements of an image, whose channels are neighbours in memory
  bool gelu = false;
  const float *x = nullptr, *gamma = nullptr, *beta = nullptr;
  double epsilon = 0;
  float* out = nullptr;
  float *mean = nullptr, *scale = nullptr;  // [images], scale = 1/√(variance + epsilon)
};

struct NormalisationGradient {
  Normalisation normalisation;      // with mean and scale known; without beta and out
  const float* gradient = nullptr;  // of out
  float* of_x = nullptr;            // may be the same memory
  double* partial = nullptr;        // [parts of kImages images, 2, channels]: of gamma, of beta
};

// The CPU's loops at one level of vector instructions; each function does the items [first, last) of `items`.
struct Level {
  const char* name = nullptr;
  bool (*runs_here)() = nullptr;
  void (*normal)(const Normal&, int64_t first, int64_t last) = nullptr;
  void (*add_noise)(const AddNoise&, int64_t first, int64_t last) = nullptr;
  void (*weighted_loss)(const WeightedLoss&, int64_t first, int64_t last) = nullptr;
  void (*reverse_step)(const ReverseStep&, int64_t first, int64_t last) = nullptr;
  void (*fetch)(const Fetch&, int64_t first, int64_t last) = nullptr;                               // items: images
  void (*depthwise_gradient)(const DepthwiseGradient&, int64_t first, int64_t last) = nullptr;      // items: parts
  void (*weight_points)(const Convolution&, int64_t first, int64_t last) = nullptr;                 // items: inputs
  void (*convolve)(const Convolution&, int64_t first, int64_t last) = nullptr;                      // items: chunks of kTiles tiles
  void (*convolution_gradient)(const ConvolutionGradient&, int64_t first, int64_t last) = nullptr;  // items: parts
  void (*normalise)(const Normalisation&, int64_t first, int64_t last) = nullptr;                   // items: images
  void (*normalise_gradient)(const NormalisationGradient&, int64_t first, int64_t last) = nullptr;  // items: parts
};

namespace cpu {
// What is compiled in, slowest first.
const Level* levels(int& count);

// Needs no level: one number a sample. Returns false when an id is negative.
bool bits(const Bits&);
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
