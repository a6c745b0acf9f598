"""DDIM, denoising diffusion implicit models (Song et al. 2020)."""

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
    """Deterministic sampling at eta 0; at eta 1 it equals ddpm with the posterior variance.

    From index t to s, the next on the grid, with q = SNR_t/SNR_s; ε follows from x_t and the clipped x_0::

        x_s = signal_s·x_0 + √(sigma_s² − std²)·ε + std·(new noise)
        std² = eta²·sigma_s²·(1 − q)
    """

    steps: int | None = Field(50, ge=1)
    """Number of indices on the grid; null: all T."""
    eta: float = Field(0.0, ge=0)
    """New noise, as a fraction of the posterior's standard deviation; 0 adds none."""

    def step(self, here: Point, there: Point) -> Row:
        q = (here.signal * there.sigma / (there.signal * here.sigma)) ** 2
        # (sigma_s² − std²)/sigma_s² = 1 − eta²·(1 − q), written without cancellation
        kept = 1 - self.eta**2 + self.eta**2 * q
        if kept < 0:
            raise SpecError(
                f"{self.eta:g} adds more noise than x has after index {here.t:g}",
                field="eta",
                hint="use at most 1, which always works",
            )
        # With ε = (x_t − signal_t·x_0)/sigma_t and direction = √(sigma_s² − std²)/sigma_t:
        # x_s = direction·x_t + (signal_s − direction·signal_t)·x_0 + std·(new noise)
        direction = there.sigma * math.sqrt(kept) / here.sigma
        return Row(
            here.t,
            here.x0_from_x,
            here.x0_from_output,
            c_x=direction,
            c_x0=there.signal - direction * here.signal,
            c_noise=self.eta * there.sigma * math.sqrt(1 - q),
        )
