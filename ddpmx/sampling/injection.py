"""The noise that the rows of a sampling run inject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise, Purpose, stream
from ..rows import Row


class Injection:
    """ε of each row for images of `shape` [n, c, …]: drawn for the row, or given as the k-th noise that is needed.

    `noise` says the seed and the sample ids; each row has a stream of its own. With `given(k, shape)`, k counts the rows
    whose c_noise is not 0.
    """

    def __init__(
        self,
        noise: Noise,
        shape: tuple[int, ...],
        given: Callable[[int, tuple[int, ...]], Tensor] | None = None,
    ) -> None:
        self._seed, self._ids, self._first = noise.seed, noise.sample_ids, stream(Purpose.SAMPLE, 0)
        self._shape, self._given, self._count = shape, given, 0

    def at(self, index: int, row: Row, variance: Tensor | None) -> Noise:
        """The noise of the plan's row `index`; a learned `variance` scales it where the row has a `noise_range`."""
        noise = Noise(self._seed, self._first + index, self._ids)
        if self._given is not None and row.c_noise != 0:
            noise = replace(noise, given=self._given(self._count, self._shape).to(self._ids.device))
            self._count += 1
        if row.noise_range is not None:
            epsilon = ops.normal(noise=noise, shape=self._shape[1:]) if noise.given is None else noise.given
            noise = replace(noise, given=learned_std(row.noise_range, variance) * epsilon)
        return noise


def learned_std(noise_range: tuple[float, float], variance: Tensor | None) -> Tensor:
    """exp(low + (high − low)·(v + 1)/2) for each element, `variance` being the network's v."""
    if variance is None:
        raise ValueError("the plan's noise is learned, and the output has no second half of channels for it")
    low, high = noise_range
    return torch.exp(low + (high - low) * (variance + 1) / 2)
