// The CPU's levels of vector instructions; cpu.cpp defines them.
#pragma once

#include "layer_ops.h"
#include "noise_ops.h"
#include "operators.h"

namespace ddpmx {

// The CPU's loops, each a member with its operator's name that does the items [first, last): of noise
// operators those of `items`.
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
// What is compiled in, slowest first.
const Level* levels(int& count);
}  // namespace cpu

}  // namespace ddpmx
