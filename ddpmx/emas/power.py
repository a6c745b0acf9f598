"""Averages over a fixed fraction of the training so far, with snapshots for rebuilding other lengths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field, field_validator

from ..components.registry import EMAS
from .base import Ema
from .profile import NARROWEST, WIDEST, Profiles, exponent

Width = Annotated[float, Field(ge=NARROWEST, lt=WIDEST)]


@EMAS.register("power", paper="Karras et al. 2024, arXiv:2312.02696")
class Power(Ema):
    """Averages over fixed fractions of the training so far, from which other lengths can be rebuilt."""

    std: tuple[Width, ...] = Field((0.05, 0.10), min_length=1, max_length=8)
    """Widths σ_rel of the averages, ascending: the standard deviation of the step over the average, as a
    fraction of all steps so far. Validation, samples and metrics use the last and widest. Two or more widths
    support more lengths."""
    snapshots: int = Field(32, ge=2, le=256)
    """Most snapshots of the averages to keep, evenly spaced. More of them support shorter averages."""

    @field_validator("std")
    @classmethod
    def _ascends(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if any(a >= b for a, b in pairwise(std)):
            raise ValueError("should ascend, without repetitions")
        return std

    def decays(self, step: int) -> tuple[float, ...]:
        # (1 − 1/t)^(γ+1): the average then weights step τ by the integral of its profile from τ − 1 to τ
        return tuple((1 - 1 / step) ** (exponent(std) + 1) for std in reversed(self.std))

    def kept(self, step: int) -> Sequence[int]:
        # the multiples of the smallest power of two of which there are at most `snapshots`
        stride = 1 << (step // (self.snapshots + 1)).bit_length()
        return range(stride, step + 1, stride)

    def profiles(self, end: int) -> Profiles:
        """The profiles of all averages that a training of `end` steps leaves, at its end and in snapshots."""
        steps = [*(step for step in self.kept(end) if step < end), end]
        return Profiles(
            [step for step in steps for _ in self.std], [exponent(std) for _ in steps for std in self.std]
        )

    def note(self, steps: int) -> str:
        covered = self.std[0] * steps
        if covered >= 1:
            return ""
        return (
            f"the average of width {self.std[0]:g} covers {covered:.2g} of the run's {steps:,} steps"
            " (train longer, or choose wider ones)"
        )
