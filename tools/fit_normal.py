"""Fits the polynomials behind ddpmx's normal numbers and writes `ddpmx/ops/constants.py` and `csrc/constants.h`.

    python tools/fit_normal.py

Each polynomial has the smallest possible largest relative error (Remez' exchange, in float64); then its coefficients are
rounded to float32. The constants define the noise for ever: `tests/ops/test_noise.py` repeats the fit and compares.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
POINTS = 4_000


@dataclass(frozen=True)
class Fit:
    """Coefficients of rising power, exact float32 values; the largest relative error before and after their rounding."""

    coefficients: tuple[float, ...]
    error: float
    rounded_error: float


def minimax(columns: Array, goal: Array) -> Array:
    """The c that minimises max |columns @ c − goal|, by Remez' exchange.

    The rows sample an interval, in order; `columns` is [points, n]. At the optimum the error reaches its largest size
    n + 1 times, with alternating sign: solve for that on n + 1 rows, move the rows to the extrema, repeat.
    """
    points, n = columns.shape
    alternating = (-1.0) ** np.arange(n + 1)
    extrema = np.round((1 - np.cos(np.pi * np.arange(n + 1) / n)) / 2 * (points - 1)).astype(int)
    for _ in range(50):
        *c, size = np.linalg.solve(np.column_stack([columns[extrema], alternating]), goal[extrema])
        error = columns @ c - goal
        if np.abs(error).max() <= abs(size) * (1 + 1e-6):
            return np.array(c)
        runs = np.split(np.arange(points), np.flatnonzero(np.diff(np.sign(error))) + 1)
        extrema = np.array([run[np.abs(error[run]).argmax()] for run in runs])
        while len(extrema) > n + 1:
            extrema = extrema[1:] if abs(error[extrema[0]]) < abs(error[extrema[-1]]) else extrema[:-1]
    raise ArithmeticError("the exchange did not converge")


def fit(
    function: Callable[[Array], Array], low: float, high: float, powers: range, first: float | None = None
) -> Fit:
    """Σ c_i x^powers[i] for a function on [low, high], in relative error. `first` fixes the first coefficient."""
    x = low + (high - low) * (1 - np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)) / 2
    exact = function(x)
    columns = np.stack([x**power for power in powers], axis=1) / exact[:, None]
    if first is None:
        c = minimax(columns, np.ones(POINTS))
    else:
        side = np.sign(
            columns[:, 1]
        )  # the free columns vanish at x = 0; unless flipped there, they are no Chebyshev system
        c = np.array([first, *minimax(side[:, None] * columns[:, 1:], side * (1 - first * columns[:, 0]))])
    rounded = c.astype(np.float32).astype(np.float64)
    return Fit(tuple(rounded.tolist()), *(float(np.abs(columns @ some - 1).max()) for some in (c, rounded)))


def fits() -> dict[str, Fit]:
    """The three polynomials, by the name of their constant."""
    return {
        "LOG": fit(np.log1p, math.sqrt(0.5) - 1, math.sqrt(2) - 1, range(1, 10), first=1.0),
        "SIN": fit(lambda a: np.sin(np.pi / 2 * a), 0, 0.5, range(1, 9, 2)),
        "COS": fit(lambda a: np.cos(np.pi / 2 * a), 0, 0.5, range(0, 8, 2), first=1.0),
    }


def module(found: dict[str, Fit]) -> str:
    """The text of `ddpmx/ops/constants.py`."""
    about = {
        "LOG": "log(1 + f) = f·P(f) for √½ ≤ 1 + f < √2",
        "SIN": "sin(π/2·a) = a·S(a²) for |a| ≤ ½",
        "COS": "cos(π/2·a) = C(a²) for |a| ≤ ½",
    }
    lines = [
        '"""Coefficients of the polynomials that make normal numbers, exact float32 values, of rising power.',
        "",
        "Written by `tools/fit_normal.py`; they define the noise for ever.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        f'LN2 = float.fromhex("{float(np.float32(math.log(2))).hex()}")',
    ]
    for name, result in found.items():
        lines += ["", f"# {about[name]}; largest relative error of the fit {result.error:.1e}", f"{name} = ("]
        lines += [f'    float.fromhex("{value.hex()}"),' for value in result.coefficients]
        lines += [")"]
    return "\n".join(lines) + "\n"


def header(found: dict[str, Fit]) -> str:
    """The text of `csrc/constants.h`."""
    lines = [
        "// Coefficients of the polynomials that make normal numbers, of rising power. Written by tools/fit_normal.py, which also",
        "// writes ddpmx/ops/constants.py; they define the noise for ever.",
        "#pragma once",
        "// clang-format off",
        "",
        f"#define DDPMX_LN2 {float(np.float32(math.log(2))).hex()}f",
    ]
    for name, result in found.items():
        rows = [f"    {value.hex()}f, \\" for value in result.coefficients]
        lines += ["", f"#define DDPMX_{name} {{ \\", *rows, "  }"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    found = fits()
    (root / "ddpmx/ops/constants.py").write_text(module(found), encoding="utf-8")
    (root / "csrc/constants.h").write_text(header(found), encoding="utf-8")
