// The levels of CPU vector instructions, which cpu.cpp defines.
#pragma once

#include "layer_ops.h"
#include "noise_ops.h"
#include "operators.h"

namespace ddpmx {

// The CPU loops. Each member has the name of its operator and handles the items [first, last); for noise
// operators `items` counts them.
struct Loops {
#define DDPMX_LOOP(NAME, OPERATION, ...) \
  void (*NAME)(const OPERATION&, int64_t first, int64_t last) = nullptr;
  DDPMX_NOISE_OPERATORS(DDPMX_LOOP)
  DDPMX_LAYER_LOOPS(DDPMX_LOOP)
#undef DDPMX_LOOP
};

// The loops compiled for one level of vector instructions.
struct Level : Loops {
  const char* name = nullptr;
  bool (*runs_here)() = nullptr;
};

namespace cpu {
// The compiled levels, slowest first.
const Level* levels(int& count);
}  // namespace cpu

}  // namespace ddpmx
