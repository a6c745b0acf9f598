"""DPM-Solver++ with past values of x_0: 2M, 3M and their SDE forms (Lu et al. 2022, arXiv:2211.01095).

From index t to s, with λ = log(signal/sigma), h = λ_s − λ_t, z = (1 + eta)·h and x_0 a polynomial in v = (λ −
λ_t)/h::

    x_s = sigma_s/sigma_t·e^(−eta·h)·x_t + signal_s·∫ z·e^(−z·(1−v))·x_0(v) dv + sigma_s·√(1 −
    e^(−2·eta·h))·noise

The methods differ only in the polynomial. eta 0 is the ODE, and eta 1 the reverse SDE.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydantic import Field

from ..components.registry import SAMPLERS
from ..rows import Row
from .base import Solver
from .integrals import exponential_moments
from .path import Path, Point


def second_order(here: Point, there: Point, past: list[Point], eta: float) -> list[float]:
    """Weights of x_0 at t and at the point before, newest first: the line through both, at v = ½.

    This is algorithm 2 of the paper. With no point before, the polynomial is the constant x_0 at t.
    """
    h = there.half_log_snr - here.half_log_snr
    gain = -math.expm1(-(1 + eta) * h)  # 1 − e^(−z), the integral's weight of a constant x_0
    if not past:
        return [gain]
    # x_0(½) = m_0 + slope·(m_0 − m_1)
    slope = 0.5 * h / (here.half_log_snr - past[0].half_log_snr)
    return [gain * (1 + slope), -gain * slope]


def third_order(here: Point, there: Point, past: list[Point], eta: float, *, published: bool) -> list[float]:
    """Weights of three x_0, newest first: the parabola through them, integrated exactly.

    `published` halves the integral of v². With fewer than two points before, it is `second_order`.
    """
    if len(past) < 2:
        return second_order(here, there, past, eta)
    h = there.half_log_snr - here.half_log_snr
    r0 = (here.half_log_snr - past[0].half_log_snr) / h
    r1 = (past[0].half_log_snr - past[1].half_log_snr) / h
    # z·∫ e^(−z·(1−v))·v^k dv for k = 0, 1, 2
    flat, linear, square = exponential_moments((1 + eta) * h, 3)
    if published:
        square /= 2
    # Newton's form x_0(v) = m_0 + first·v + second·v·(v + r0), with the divided differences of m at 0, −r0
    # and −r0−r1
    first = (1 / r0, -1 / r0, 0.0)
    second = tuple((a - b) / (r0 + r1) for a, b in zip(first, (0.0, 1 / r1, -1 / r1), strict=True))
    values = ((1.0, 0.0, 0.0), first, second)
    return [
        sum(m * value[j] for m, value in zip((flat, linear, square + r0 * linear), values, strict=True))
        for j in range(3)
    ]


def data_row(here: Point, there: Point, weights: list[float], eta: float = 0.0) -> Row:
    """The row of the module's formula for these weights of x_0, newest first."""
    h = there.half_log_snr - here.half_log_snr
    return Row(
        here.t,
        here.x0_from_x,
        here.x0_from_output,
        c_x=there.sigma / here.sigma * math.exp(-eta * h),
        c_x0=there.signal * weights[0],
        c_history=tuple(there.signal * weight for weight in weights[1:]),
        c_noise=there.sigma * math.sqrt(-math.expm1(-2 * eta * h)),
    )


@SAMPLERS.register("dpmpp_2m", paper="Lu et al. 2022, arXiv:2211.01095, algorithm 2")
class DPMpp2M(Solver):
    """Second order, one evaluation per step: DPM-Solver++(2M) in its midpoint form."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        here, there = path[i], path[i + 1]
        yield data_row(here, there, second_order(here, there, path.before(i, 1), 0.0))


@SAMPLERS.register("dpmpp_2m_sde", paper="Lu et al. 2022, arXiv:2211.01095; Crowson, k-diffusion")
class DPMpp2MSDE(Solver):
    """The stochastic dpmpp_2m: the reverse SDE, with DPM-Solver++(2M) for its drift."""

    eta: float = Field(1.0, ge=0)
    """Strength of the noise: 1 is the reverse SDE, 0 is dpmpp_2m."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        here, there = path[i], path[i + 1]
        yield data_row(here, there, second_order(here, there, path.before(i, 1), self.eta), self.eta)


@SAMPLERS.register("dpmpp_3m", paper="Lu et al. 2022, arXiv:2211.01095, with the full Taylor weight")
class DPMpp3M(Solver):
    """Third order, one evaluation per step: DPM-Solver++ with two past values of x_0."""

    published: bool = False
    """Halve the weight of the second difference, as diffusers and k-diffusion do; the order is then 2."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        here, there = path[i], path[i + 1]
        yield data_row(
            here, there, third_order(here, there, path.before(i, 2), 0.0, published=self.published)
        )


@SAMPLERS.register("dpmpp_3m_sde", paper="Lu et al. 2022, arXiv:2211.01095; Crowson, k-diffusion")
class DPMpp3MSDE(Solver):
    """The stochastic dpmpp_3m: the reverse SDE, with DPM-Solver++(3M) for its drift."""

    published: bool = False
    """Halve the weight of the second difference, as k-diffusion does."""
    eta: float = Field(1.0, ge=0)
    """Strength of the noise: 1 is the reverse SDE, 0 is dpmpp_3m."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        here, there = path[i], path[i + 1]
        yield data_row(
            here,
            there,
            third_order(here, there, path.before(i, 2), self.eta, published=self.published),
            self.eta,
        )
