"""The polynomials that make normal numbers: exact float32 coefficients of rising power.

They define the noise and must not change. Written by `tools/fit_normal.py`.
"""

from __future__ import annotations

LN2 = float.fromhex("0x1.62e4300000000p-1")

# log(1 + f) = f·P(f) for √½ ≤ 1 + f < √2; largest relative error of the fit 3.0e-08
LOG = (
    float.fromhex("0x1.0000000000000p+0"),
    float.fromhex("-0x1.fffffa0000000p-2"),
    float.fromhex("0x1.5556f40000000p-2"),
    float.fromhex("-0x1.00049a0000000p-2"),
    float.fromhex("0x1.98d2c00000000p-3"),
    float.fromhex("-0x1.535d300000000p-3"),
    float.fromhex("0x1.3185240000000p-3"),
    float.fromhex("-0x1.25049e0000000p-3"),
    float.fromhex("0x1.65c7780000000p-4"),
)

# sin(π/2·a) = a·S(a²) for |a| ≤ ½; largest relative error of the fit 3.2e-09
SIN = (
    float.fromhex("0x1.921fb60000000p+0"),
    float.fromhex("-0x1.4abbba0000000p-1"),
    float.fromhex("0x1.465e920000000p-4"),
    float.fromhex("-0x1.2d93020000000p-8"),
)

# cos(π/2·a) = C(a²) for |a| ≤ ½; largest relative error of the fit 3.8e-08
COS = (
    float.fromhex("0x1.0000000000000p+0"),
    float.fromhex("-0x1.3bd39c0000000p+0"),
    float.fromhex("0x1.03b0900000000p-2"),
    float.fromhex("-0x1.4e844a0000000p-6"),
)
