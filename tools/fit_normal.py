"""Fits the polynomials of ddpmx's normal numbers and writes `ddpmx/ops/constants.py` and `csrc/constants.h`.

    python tools/fit_normal.py

Each polynomial minimises the largest relative error (Remez' exchange, in float64); then its coefficients are
rounded to float32. The constants define the noise and must not change: `tests/ops/test_noise.py` repeats the
fit and compares.
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
    """A fitted polynomial."""

    coefficients: tuple[float, ...]
    """Exact float32 values, in order of rising power."""
    error: float
    """The largest relative error before the coefficients were rounded."""
    rounded_error: float
    """The largest relative error after it."""


def minimax(columns: Array, goal: Array) -> Array:
    """The c that minimises max |columns @ c − goal|, by Remez' exchange.

    `columns` is [points, n]; its rows sample an interval in order. At the optimum, the error reaches its
    largest absolute value n + 1 times, with alternating signs. Each round solves for that on n + 1 rows and
    then moves the rows to the extrema.
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
    """Σ c_i x^powers[i], fitted to a function on [low, high] in relative error.

    `first` fixes the first coefficient.
    """
    x = low + (high - low) * (1 - np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)) / 2
    exact = function(x)
    columns = np.stack([x**power for power in powers], axis=1) / exact[:, None]
    if first is None:
        c = minimax(columns, np.ones(POINTS))
    else:
        # The free columns vanish at x = 0. They are a Chebyshev system only if their sign is flipped there.
        side = np.sign(columns[:, 1])
        c = np.array([first, *minimax(side[:, None] * columns[:, 1:], side * (1 - first * columns[:, 0]))])
    rounded = c.astype(np.float32).astype(np.float64)
    return Fit(
        tuple(rounded.tolist()), *(float(np.abs(columns @ values - 1).max()) for values in (c, rounded))
    )


def fits() -> dict[str, Fit]:
    """The three polynomials, by the names of their constants."""
    return {
        "LOG": fit(np.log1p, math.sqrt(0.5) - 1, math.sqrt(2) - 1, range(1, 10), first=1.0),
        "SIN": fit(lambda a: np.sin(np.pi / 2 * a), 0, 0.5, range(1, 9, 2)),
        "COS": fit(lambda a: np.cos(np.pi / 2 * a), 0, 0.5, range(0, 8, 2), first=1.0),
    }


def module(polynomials: dict[str, Fit]) -> str:
    """The text of `ddpmx/ops/constants.py`."""
    formulas = {
        "LOG": "log(1 + f) = f·P(f) for √½ ≤ 1 + f < √2",
        "SIN": "sin(π/2·a) = a·S(a²) for |a| ≤ ½",
        "COS": "cos(π/2·a) = C(a²) for |a| ≤ ½",
    }
    lines = [
        '"""The polynomials that make normal numbers: exact float32 coefficients of rising power.',
        "",
        "They define the noise and must not change. Written by `tools/fit_normal.py`.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        f'LN2 = float.fromhex("{float(np.float32(math.log(2))).hex()}")',
    ]
    for name, result in polynomials.items():
        lines += [
            "",
            f"# {formulas[name]}; largest relative error of the fit {result.error:.1e}",
            f"{name} = (",
        ]
        lines += [f'    float.fromhex("{value.hex()}"),' for value in result.coefficients]
        lines += [")"]
    return "\n".join(lines) + "\n"


def header(polynomials: dict[str, Fit]) -> str:
    """The text of `csrc/constants.h`."""
    lines = [
        "// The polynomials that make normal numbers: coefficients in order of rising power.",
        "// They define the noise and must not change.",
        "// Written by tools/fit_normal.py, which also writes ddpmx/ops/constants.py.",
        "#pragma once",
        "// clang-format off",
        "",
        f"#define DDPMX_LN2 {float(np.float32(math.log(2))).hex()}f",
    ]
    for name, result in polynomials.items():
        rows = [f"    {value.hex()}f, \\" for value in result.coefficients]
        lines += ["", f"#define DDPMX_{name} {{ \\", *rows, "  }"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    polynomials = fits()
    (root / "ddpmx/ops/constants.py").write_text(module(polynomials), encoding="utf-8")
    (root / "csrc/constants.h").write_text(header(polynomials), encoding="utf-8")
