// The CPU's levels of vector instructions; cpu.cpp defines them.
#pragma once

#include "layer_ops.h"
#include "noise_ops.h"

namespace ddpmx {

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

}  // namespace ddpmx
