// The polynomials that make normal numbers: coefficients in order of rising power.
// They define the noise and must not change.
// Written by tools/fit_normal.py, which also writes ddpmx/ops/constants.py.
#pragma once
// clang-format off

#define DDPMX_LN2 0x1.62e4300000000p-1f

#define DDPMX_LOG { \
    0x1.0000000000000p+0f, \
    -0x1.fffffa0000000p-2f, \
    0x1.5556f40000000p-2f, \
    -0x1.00049a0000000p-2f, \
    0x1.98d2c00000000p-3f, \
    -0x1.535d300000000p-3f, \
    0x1.3185240000000p-3f, \
    -0x1.25049e0000000p-3f, \
    0x1.65c7780000000p-4f, \
  }

#define DDPMX_SIN { \
    0x1.921fb60000000p+0f, \
    -0x1.4abbba0000000p-1f, \
    0x1.465e920000000p-4f, \
    -0x1.2d93020000000p-8f, \
  }

#define DDPMX_COS { \
    0x1.0000000000000p+0f, \
    -0x1.3bd39c0000000p+0f, \
    0x1.03b0900000000p-2f, \
    -0x1.4e844a0000000p-6f, \
  }
