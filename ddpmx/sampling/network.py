"""The network as the sampling loop calls it, and the bound on x_0."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..rows import DynamicClip, Row

Denoiser = Callable[..., Tensor]
"""denoise(x, t), or denoise(x, t, x0) with self-conditioning.

Returns the output for the state x [n, c, …] at the table indices t [n]."""


class Network:
    """The denoiser of one sampling run, with self-conditioning and a learned variance if it has them."""

    def __init__(self, denoise: Denoiser, clip: float | DynamicClip | None, x0: Tensor | None) -> None:
        """`x0` is the first estimate that a self-conditioned network receives; None: no self-conditioning."""
        self._denoise, self._clip, self._x0 = denoise, clip, x0
        self.gives_x0 = x0 is not None or isinstance(clip, DynamicClip)
        """Whether x_0 is computed here, not by the kernel: for self-conditioning or a dynamic bound."""

    def output(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """The output and the variance, both [n, c, …].

        The variance is the second half of an output with 2c channels; without one it is None.
        """
        output = self._denoise(x, t) if self._x0 is None else self._denoise(x, t, self._x0)
        if output.shape[1] != 2 * x.shape[1]:
            return output, None
        output, variance = output.chunk(2, dim=1)
        return output, variance

    def x0(self, row: Row, x: Tensor, output: Tensor) -> Tensor:
        """x0 = clip(x0_from_x·x + x0_from_output·output), which the next evaluation receives."""
        x0 = bounded(row.x0_from_x * x + row.x0_from_output * output, self._clip)
        if self._x0 is not None:
            self._x0 = x0
        return x0


def bounded(x0: Tensor, clip: float | DynamicClip | None) -> Tensor:
    """x_0 within the bound of `Plan.clip`."""
    if clip is None:
        return x0
    if isinstance(clip, DynamicClip):
        size = x0.abs().flatten(1)  # [n, elements]
        size = torch.quantile(
            size if size.dtype == torch.float64 else size.float(), clip.percentile, dim=1
        ).clamp(min=1)
        bound = size.to(x0.dtype).view(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-bound, bound) / bound
    return x0.clamp(-clip, clip)


@contextmanager
def evaluating(network: object) -> Iterator[None]:
    """Put a module into evaluation mode, and restore the mode of each of its parts; a function has none."""
    modules = [*network.modules()] if isinstance(network, nn.Module) else []
    trained = [module for module in modules if module.training]
    if trained:
        modules[0].eval()
    try:
        yield
    finally:
        for module in trained:
            module.training = True
