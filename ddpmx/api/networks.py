"""Networks of the user: how they are called, and what they may return."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..models import TimeInput, embed_time
from ..objective.steps import scaled
from ..predictions import Prediction
from ..schedules import Table

Net = Callable[..., object]
"""net(x, t): a tensor like x, or an object that has one as `sample`."""


def output_of(net: Net, x: Tensor, t: Tensor, like: Tensor, *, learns_variance: bool = False) -> Tensor:
    """The tensor that `net(x, t)` returns, itself, as `sample` or as the first item of a tuple.

    Raises ValueError unless it has the shape of `like`; with `learns_variance`, it may have twice the
    channels. Raises TypeError if there is no tensor.
    """
    output = net(x, t)
    if isinstance(output, tuple) and output:
        output = output[0]
    elif not isinstance(output, Tensor):
        output = getattr(output, "sample", output)
    if not isinstance(output, Tensor):
        raise TypeError(f"net should return a tensor, not {type(output).__name__}")
    doubled = learns_variance and output.shape == (*like.shape[:1], 2 * like.shape[1], *like.shape[2:])
    if output.shape != like.shape and not doubled:
        raise ValueError(f"net should return {list(like.shape)}, the shape of x, not {list(output.shape)}")
    return output


def denoiser(
    net: Net, table: Table, prediction: Prediction, time_input: TimeInput
) -> Callable[[Tensor, Tensor], Tensor]:
    """denoise(x, t) for `ddpmx.sample`: net's output for x [n, …] at table indices t [n], in x's dtype."""
    scales = prediction.input_scale(table.signal, table.sigma) is not None

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        t = t.cpu().double()
        scale = prediction.input_scale(*table.at(t)) if scales else None
        time = embed_time(t, table, time_input).to(x.device)
        return output_of(net, scaled(x, scale), time, like=x, learns_variance=True).to(x.dtype)

    return denoise


def device_of(net: Net) -> torch.device:
    """The device of a module's first weight; the CPU for a function, and for a module without weights."""
    weights = net.parameters() if isinstance(net, nn.Module) else iter(())
    return next((weight.device for weight in weights), torch.device("cpu"))
