"""Classifier-free guidance: turns a class-conditional denoiser into one that `ddpmx.sample` runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..schedules import Table


def guided(
    denoise: Callable[..., Tensor],
    labels: Tensor,
    no_class: int,
    table: Table,
    *,
    weight: float = 1.0,
    rescale: float = 0.0,
    interval: tuple[float, float] | None = None,
) -> Callable[..., Tensor]:
    """A guided denoise(x, t) for `ddpmx.sample`, made from denoise(x, t, labels).

    x is [n, c, …], t [n], `labels` int64 [n]. With cond the output for `labels` and uncond that for the label
    `no_class`::

        output = uncond + weight·(cond − uncond)
        output ← output·(rescale·std(cond)/std(output) + 1 − rescale)

    The first line is eq. 6 of Ho & Salimans 2022, arXiv:2207.12598, whose w is weight − 1. The second is eq.
    15 and 16 of Lin et al. 2023, arXiv:2305.08891; std is over the elements of one image.

    cond and uncond come from one call with 2n images. Weight 1, and weight 0 without rescaling, need only one
    of the two: a call with n images.

    At a given x_t, x_0 is linear in the output, and the factors of cond and uncond add up to 1. Guiding the
    output therefore guides x_0, for every prediction. `rescale` acts on the output of the prediction in use.

    Channels after the first c of an output (a learned variance) are taken from cond. An estimate of x_0, for
    self-conditioning, is passed on to `denoise`.

    `interval` = (low, high) limits guidance to the images whose log-SNR at t is in [low, high); the output of
    the others is cond. Kynkäänniemi et al. 2024, arXiv:2404.07724, whose noise level is exp(−log-SNR/2).
    """
    no_labels = torch.full_like(labels, no_class)

    def guided_denoise(x: Tensor, t: Tensor, *x0: Tensor) -> Tensor:
        in_interval = torch.ones(len(t), dtype=torch.bool)
        if interval is not None:
            log_snr = table.log_snr_at(t.cpu().double())
            in_interval = (interval[0] <= log_snr) & (log_snr < interval[1])
        if weight == 1 or not bool(in_interval.any()):
            return denoise(x, t, labels, *x0)
        in_interval = in_interval.to(x.device)
        if weight == 0 and rescale == 0:
            return denoise(x, t, torch.where(in_interval, no_labels, labels), *x0)
        pairs = ((x, x), (t, t), (labels, no_labels), *((estimate, estimate) for estimate in x0))
        cond, uncond = denoise(*(torch.cat(pair) for pair in pairs)).chunk(2)  # [2n, …] -> [n, …] each
        (cond, *variance), uncond = cond.split(x.shape[1], dim=1), uncond[:, : x.shape[1]]

        # output = uncond + weight·(cond − uncond)
        # output ← output·(rescale·std(cond)/std(output) + 1 − rescale)
        output = uncond + weight * (cond - uncond)
        if rescale:
            output = output * (
                rescale * _std(cond) / _std(output).clamp(min=torch.finfo(x.dtype).tiny) + 1 - rescale
            )
        guided_here = in_interval.view(-1, *[1] * (x.ndim - 1))  # [n, 1, …, 1]
        return torch.cat((torch.where(guided_here, output, cond), *variance), dim=1)

    return guided_denoise


def _std(x: Tensor) -> Tensor:
    """The standard deviation over the elements of each image, [n, 1, …, 1]."""
    return x.std(dim=tuple(range(1, x.ndim)), correction=0, keepdim=True)
