// All loops of one level of vector instructions. cpu.cpp includes this once for each level, in a namespace
// and under a target of its own, where `Lanes` is a vector of 64-bit words, `Floats` one of floats, and
// multiply_add(a, b, c) is a·b + c for Floats.

#include "loops.h"
#include "floats.h"
#include "depthwise.h"
#include "points.h"
#include "matrix.h"
#include "winograd.h"
#include "norm.h"

// Constant data, so that no code of this level runs where its instructions may be missing.
#define DDPMX_LOOP(NAME, ...) NAME,
constexpr Loops loops = {DDPMX_NOISE_OPERATORS(DDPMX_LOOP) DDPMX_LAYER_LOOPS(DDPMX_LOOP)};
#undef DDPMX_LOOP
