"""The noise that each row of a plan injects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise, Purpose, stream
from ..rows import Row


class Injection:
    """ε of each row for images of `shape` [n, c, …]: drawn for the row, or the next noise of `given`.

    `noise` gives the seed and the sample ids; each row has its own stream. In `given(k, shape)`, k counts the
    rows whose c_noise is not 0.
    """

    def __init__(
        self,
        noise: Noise,
        shape: tuple[int, ...],
        given: Callable[[int, tuple[int, ...]], Tensor] | None = None,
    ) -> None:
        self._seed, self._ids, self._first_stream = noise.seed, noise.sample_ids, stream(Purpose.SAMPLE, 0)
        self._shape, self._given, self._count = shape, given, 0

    def for_row(self, index: int, row: Row, variance: Tensor | None) -> Noise:
        """The noise of row `index`, scaled by the learned `variance` if the row has a `noise_range`."""
        noise = Noise(self._seed, self._first_stream + index, self._ids)
        if self._given is not None and row.c_noise != 0:
            noise = replace(noise, given=self._given(self._count, self._shape).to(self._ids.device))
            self._count += 1
        if row.noise_range is not None:
            epsilon = ops.normal(noise=noise, shape=self._shape[1:]) if noise.given is None else noise.given
            noise = replace(noise, given=learned_std(row.noise_range, variance) * epsilon)
        return noise


def learned_std(noise_range: tuple[float, float], variance: Tensor | None) -> Tensor:
    """exp(low + (high − low)·(v + 1)/2) for each element, where v is the network's `variance`."""
    if variance is None:
        raise ValueError(
            "the plan needs a learned variance: the network's output should have twice the channels of x"
        )
    low, high = noise_range
    return torch.exp(low + (high - low) * (variance + 1) / 2)
