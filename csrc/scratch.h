// Working memory of a kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "element.h"

namespace ddpmx {

// `count` uninitialised floats that begin a cache line, freed at the end of the scope. Always inlined and not
// a template: code of its own could be compiled for one level's instructions and then be linked into the
// others.
struct Scratch {
  float* const values;

  DDPMX_INLINE explicit Scratch(int64_t count)
      : values(static_cast<float*>(
            ::operator new(static_cast<size_t>(count) * sizeof(float), std::align_val_t{64}))) {}
  DDPMX_INLINE ~Scratch() { ::operator delete(values, std::align_val_t{64}); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

}  // namespace ddpmx
