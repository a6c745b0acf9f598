"""Implicit sampling (Song et al. 2020)."""

from __future__ import annotations

import math

from pydantic import Field

from ..components.registry import SAMPLERS
from ..errors import SpecError
from ..rows import Row
from .base import Sampler
from .path import Point


@SAMPLERS.register("ddim", paper="Song et al. 2020, arXiv:2010.02502, eq. 12 and 16")
class DDIM(Sampler):
    """Deterministic at eta 0; at eta 1 it is ddpm with the posterior variance.

    Between neighbours on the grid, t and then s, with q = SNR_t/SNR_s and ε from x_t and the clipped x_0::

        x_s = signal_s·x_0 + √(sigma_s² − std²)·ε + std·(new noise)
        std² = eta²·sigma_s²·(1 − q)
    """

    steps: int | None = Field(50, ge=1)
    """How many indices the grid has; null: all T."""
    eta: float = Field(0.0, ge=0)
    """Share of the posterior's standard deviation that is added as new noise."""

    def step(self, here: Point, there: Point) -> Row:
        q = (here.signal * there.sigma / (there.signal * here.sigma)) ** 2
        kept = (
            1 - self.eta**2 + self.eta**2 * q
        )  # of x's noise, as a variance; 1 − eta²·(1 − q) without its cancellation
        if kept < 0:
            raise SpecError(
                f"{self.eta:g} adds more noise than x has after index {here.t:g}",
                field="eta",
                hint="1 is always possible",
            )
        direction = there.sigma * math.sqrt(kept) / here.sigma
        return Row(
            here.t,
            here.x0_from_x,
            here.x0_from_output,
            c_x=direction,
            c_x0=there.signal - direction * here.signal,
            c_noise=self.eta * there.sigma * math.sqrt(1 - q),
        )
