// The operations on images and network layers that have CPU kernels: plain data without torch, filled by the
// bindings.
#pragma once

#include "batch.h"

namespace ddpmx {

// out = pixels[ids]/127.5 − 1. With `flip`, the images whose bits begin with 0 are mirrored.
struct Fetch {
  int64_t images = 0, rows = 0, width = 0;  // rows: those of all channels of an image
  const uint8_t* pixels = nullptr;          // [any, rows, width]
  Noise noise;                              // its ids are indices of images
  bool flip = false;
  float* out = nullptr;  // [images, rows, width]
};

// A tensor [images, channels, height, width] in memory, with strides in elements.
struct Pixels {
  void* data = nullptr;
  int64_t stride[4] = {};
  bool narrow = false;  // bfloat16, else float32
};

// Images in memory in channels_last order, float32 or bfloat16.
struct Images {
  void* data = nullptr;
  int64_t elements = 0;  // of an image
  bool narrow = false;   // bfloat16, else float32
};

constexpr int kSide = 7, kRadius = kSide / 2, kTaps = kSide * kSide;  // of a depthwise filter
// Gradients are summed over parts of this many images, so that they do not depend on the number of threads.
constexpr int64_t kImagesPerPart = 8;

// The gradients of weight and bias for out = bias + Σ weight[c, i, j]·x[y + i − 3, x + j − 3], with zeros
// outside: the sums over images and pixels of gradient·x, and of gradient.
struct DepthwiseGradient {
  int64_t images = 0, channels = 0, height = 0, width = 0;
  Pixels x, gradient;
  float* partial = nullptr;  // [parts of kImagesPerPart images, channels, 7·7 + 1]
};

constexpr int kTile = 4, kPoints = 36;  // of minimal filtering, see winograd.h
constexpr int64_t kTilesPerChunk = 72;  // transformed together

constexpr int64_t kWidest = 16;  // floats per vector at the widest level

inline int64_t padded(int64_t channels) { return (channels + kWidest - 1) / kWidest * kWidest; }

// A 3×3 convolution with a margin of zeros, in channels_last order.
struct Convolution {
  int64_t images = 0, height = 0, width = 0, inputs = 0, outputs = 0;
  Images x;                       // [images, height, width, inputs]
  const float* weight = nullptr;  // its first tap; strides in the next line
  int64_t weight_output = 0, weight_input = 0, weight_y = 0, weight_x = 0;
  const float* bias = nullptr;  // [outputs], or null
  float* points = nullptr;      // [36, inputs, padded(outputs)]: the weight after `weight_points`
  Images out;                   // [images, height, width, outputs], of the same dtype as x

  int64_t tile_rows() const { return (height + kTile - 1) / kTile; }
  int64_t tile_columns() const { return (width + kTile - 1) / kTile; }
  int64_t tiles_per_image() const { return tile_rows() * tile_columns(); }
  int64_t tiles() const { return images * tiles_per_image(); }
};

// The gradients of its weight and bias, summed over parts that do not depend on the number of threads.
struct ConvolutionGradient {
  static constexpr int64_t kMaxParts = 8;
  Convolution convolution;   // weight, bias and out are not set
  Images gradient;           // of out
  float* partial = nullptr;  // [parts, part_size()]

  int64_t tiles_per_part() const {
    const int64_t chunks = (convolution.tiles() + kTilesPerChunk - 1) / kTilesPerChunk;
    return (chunks + kMaxParts - 1) / kMaxParts * kTilesPerChunk;
  }
  int64_t parts() const { return (convolution.tiles() + tiles_per_part() - 1) / tiles_per_part(); }
  int64_t part_size() const { return (9 * convolution.inputs + 1) * padded(convolution.outputs); }
};

// out = (g − mean)/√(variance + epsilon)·gamma + beta, where g is x or its GELU, and mean and variance are
// over an image.
struct Normalisation {
  int64_t images = 0, channels = 0;
  bool gelu = false;
  Images x, out;
  const float *gamma = nullptr, *beta = nullptr;
  double epsilon = 0;
  float *mean = nullptr, *scale = nullptr;  // [images], scale = 1/√(variance + epsilon)
};

struct NormalisationGradient {
  Normalisation normalisation;  // mean and scale are known; beta and out are not set
  Images gradient, grad_x;      // grad_x may be `gradient`
  double* partial = nullptr;    // [parts of kImagesPerPart images, 2, channels]: gamma, beta
};

// Of an image's values; scale = 1/√(variance + epsilon).
struct Moments {
  float mean = 0, scale = 0;
};

// out = z or z·σ(z), where z = (x − mean)/√(variance + epsilon)·gamma + beta, and mean and variance are over
// channels/groups neighbouring channels of an image.
struct GroupNormalisation {
  int64_t images = 0, channels = 0, groups = 0;
  bool silu = false;
  Images x, out;
  const float *gamma = nullptr, *beta = nullptr;  // [channels]
  double epsilon = 0;
  Moments* moments = nullptr;  // [images, groups]
};

struct GroupNormalisationGradient {
  GroupNormalisation normalisation;  // moments are known; epsilon and out are not set
  Images gradient, grad_x;           // grad_x may be `gradient`
  double* partial = nullptr;         // [images, 2, channels]: sums for gamma and beta
};

// out = x + norm(y) with, over an image's positions p and the features f of all heads,
// y[p] = bias + Σ_f q[p, f]·Σ_j keyed[f, j]·mix[head of f, j]. Here keyed[f] = Σ_p k[p, f]·n[p], n = norm(x),
// q is the softmax of n·qᵀ over a head's features, k that of n·kᵀ over the positions. All in channels_last
// order.
struct LinearAttention {
  int64_t images = 0, positions = 0, channels = 0, heads = 0, features = 0;  // features: of all heads
  double epsilon = 0;
  Images x, out;                                        // [images, positions, channels]
  const float *gamma_in = nullptr, *beta_in = nullptr;  // [channels], of the norm of x
  const float *q = nullptr, *k = nullptr,
              *mix = nullptr;   // [features, channels], and [heads, channels, channels]
  const float* bias = nullptr;  // [channels]
  const float *gamma_out = nullptr, *beta_out = nullptr;  // [channels], of the norm of y
  Moments* moments = nullptr;                             // [images, 2]: of x and of y

  int64_t elements() const { return positions * channels; }
};

struct LinearAttentionGradient {
  LinearAttention attention;  // moments are known; beta_out and out are not used
  Images gradient, grad_x;
  // [parts of kImagesPerPart images, part_size()]: sums for q, k, mix and bias, in rows of padded(channels)
  float* partial = nullptr;
  double* norms = nullptr;  // [parts, 4, channels]: sums for gamma_in, beta_in, gamma_out, beta_out

  int64_t part_size() const {
    return (2 * attention.features + attention.heads * attention.channels + 1) * padded(attention.channels);
  }
};

}  // namespace ddpmx
