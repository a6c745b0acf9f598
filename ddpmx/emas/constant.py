"""The average whose decay is the same at every step, except for a warm-up."""

from __future__ import annotations

from pydantic import Field

from ..components.registry import EMAS
from .base import Ema


@EMAS.register("constant", paper="Polyak & Juditsky 1992, doi:10.1137/0330046")
class Constant(Ema):
    """An average over about 1/(1 − decay) steps, of the same length throughout training."""

    decay: float = Field(0.9999, ge=0, lt=1)
    """Factor of the old average in each update: average ← decay·average + (1 − decay)·weights."""
    warmup: bool = True
    """Shorten the average early in training: the decay at step k is min(decay, (1 + k)/(10 + k)). The warm-up
    is that of TensorFlow's `ExponentialMovingAverage`."""

    def decays(self, step: int) -> tuple[float, ...]:
        return (min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay,)

    def note(self, steps: int) -> str:
        memory = 1 / (1 - self.decay)
        if self.warmup or memory <= steps:
            return ""
        return (
            f"the average covers about {memory:,.0f} steps, but the run has only {steps:,}"
            " (set ema.warmup: true, or a smaller decay)"
        )
