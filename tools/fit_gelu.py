"""Fits the two functions of the kernels' GELU and writes `csrc/gelu_constants.h`.

    python tools/fit_gelu.py

The first is Φ(−a) = e^(−a²/2)·Q(1/(1 + p·a)) for a ≥ 0, the form of Abramowitz & Stegun 7.1.26 with a Q of
higher degree. The second is e^r near 0.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from fit_normal import Array, Fit, fit
from scipy.special import erfcx

P = 0.3
MAX_ABS = 13.0  # where e^(−a²/2) is 2e-37, still a normal float32


def tail(t: Array) -> Array:
    """Q: Φ(−a)·e^(a²/2) at a = (1/t − 1)/p."""
    value: Array = 0.5 * erfcx((1 / t - 1) / P / math.sqrt(2))
    return value


def fits() -> dict[str, Fit]:
    """The two polynomials, by the names of their constants."""
    return {
        "TAIL": fit(tail, 1 / (1 + P * MAX_ABS), 1.0, range(9)),
        "EXP": fit(np.exp, -math.log(2) / 2, math.log(2) / 2, range(7)),
    }


def header() -> str:
    """The text of `csrc/gelu_constants.h`."""
    lines = ["// Written by tools/fit_gelu.py.", "#pragma once", "// clang-format off", ""]
    lines += [f"#define DDPMX_P {P}f", f"#define DDPMX_MAX_ABS {MAX_ABS}f", ""]
    for name, polynomial in fits().items():
        lines += [
            f"#define DDPMX_{name} {{ \\",
            *(f"    {float(c).hex()}f, \\" for c in polynomial.coefficients),
            "  }",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    for name, polynomial in fits().items():
        print(
            name,
            f"largest relative error {polynomial.error:.1e},",
            f"{polynomial.rounded_error:.1e} with rounded coefficients",
        )
    (Path(__file__).parents[1] / "csrc/gelu_constants.h").write_text(header())
