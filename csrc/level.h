// All loops of one level of vector instructions. cpu.cpp includes this file once per level, in its own
// namespace and for its own target. There, `Lanes` is a vector of 64-bit words, `Floats` a vector of floats,
// and multiply_add(a, b, c) is a·b + c for Floats.

#include "loops.h"
#include "floats.h"
#include "images.h"
#include "depthwise.h"
#include "points.h"
#include "matrix.h"
#include "winograd.h"
#include "norm.h"
#include "group_norm.h"
#include "softmax.h"
#include "attention.h"

// Constant data, so that a machine without this level's instructions runs none of its code.
#define DDPMX_LOOP(NAME, ...) NAME,
constexpr Loops loops = {DDPMX_NOISE_OPERATORS(DDPMX_LOOP) DDPMX_LAYER_LOOPS(DDPMX_LOOP)};
#undef DDPMX_LOOP

#ifdef DDPMX_PAIRS
#include "pairs.h"
constexpr Loops with_pairs(Loops changed) {
  changed.weight_points = weight_point_pairs;
  changed.convolve = convolve_pairs;
  changed.convolution_gradient = convolution_gradient_pairs;
  return changed;
}
constexpr Loops loops_with_pairs = with_pairs(loops);
#endif
