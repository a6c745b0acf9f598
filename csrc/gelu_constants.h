// Written by tools/fit_gelu.py.
#pragma once
// clang-format off

#define DDPMX_P 0.3f
#define DDPMX_MAX_ABS 13.0f

#define DDPMX_TAIL { \
    0x1.ac58c00000000p-18f, \
    0x1.e979e20000000p-4f, \
    0x1.f2ffaa0000000p-4f, \
    0x1.8554740000000p-4f, \
    0x1.2226b80000000p-3f, \
    -0x1.3449360000000p-4f, \
    0x1.d214400000000p-3f, \
    -0x1.5961b40000000p-3f, \
    0x1.39840e0000000p-5f, \
  }

#define DDPMX_EXP { \
    0x1.0000000000000p+0f, \
    0x1.0000000000000p+0f, \
    0x1.fffffa0000000p-2f, \
    0x1.55540a0000000p-3f, \
    0x1.55589a0000000p-5f, \
    0x1.126d0c0000000p-7f, \
    0x1.6ab9800000000p-10f, \
  }
