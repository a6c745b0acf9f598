// The operations on images and layers of networks that have CPU kernels, as the bindings hand them over:
// plain data, no torch.
#pragma once

#include "batch.h"

namespace ddpmx {

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
constexpr int64_t kImages =
    8;  // whose weight gradient is summed at a time: the same sum for every number of threads

// For out = bias + Σ weight[c, i, j]·x[y + i − 3, x + j − 3], pixels outside being 0: the gradients of weight
// and bias, which are sums over images and pixels of gradient·x, and of gradient.
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

// out = (g − mean)/√(variance + epsilon)·gamma + beta, where g is x or its GELU, and mean and variance are
// over an image.
struct Normalisation {
  int64_t images = 0, elements = 0,
          channels = 0;  // elements of an image, whose channels are neighbours in memory
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

}  // namespace ddpmx
