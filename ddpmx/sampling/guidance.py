"""Classifier-free guidance: a denoiser that is told classes becomes one that `ddpmx.sample` runs."""

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
    """denoise(x, t) for `ddpmx.sample`, out of denoise(x, t, labels) with x [n, c, …], t [n] and labels, int64 [n]::

        output = uncond + weight·(cond − uncond)                                     Ho & Salimans 2022, arXiv:2207.12598, eq. 6
        output ← output·(rescale·std(cond)/std(output) + 1 − rescale)                Lin et al. 2023, arXiv:2305.08891, eq. 15-16

    cond is the output for `labels`, uncond for the label `no_class`; both come from one call with 2n images. This weight
    is 1 + w in Ho & Salimans' own letters. Weight 1 (and 0, with no rescale) needs one of the two only: a call with n.

    x_0 is linear in the output at a given x_t, and the two outputs' factors add up to 1, so guiding the output is guiding
    x_0, whatever the prediction. `rescale` acts on the output of the prediction in use, std being over an image's elements.

    What stands behind the first c channels of an output (a learned variance) is the conditional one's; an estimate of x_0, for
    self-conditioning, is passed on.

    `interval` = (low, high): the above holds for images whose log-SNR at t is in [low, high); elsewhere the output is cond.
    Kynkäänniemi et al. 2024, arXiv:2404.07724, whose noise level is exp(−log-SNR/2).
    """
    nothing = torch.full_like(labels, no_class)

    def at(x: Tensor, t: Tensor, *x0: Tensor) -> Tensor:
        acts = torch.ones(len(t), dtype=torch.bool)
        if interval is not None:
            log_snr = table.log_snr_at(t.cpu().double())
            acts = (interval[0] <= log_snr) & (log_snr < interval[1])
        if weight == 1 or not bool(acts.any()):
            return denoise(x, t, labels, *x0)
        acts = acts.to(x.device)
        if weight == 0 and rescale == 0:
            return denoise(x, t, torch.where(acts, nothing, labels), *x0)
        cond, uncond = denoise(
            *(torch.cat(pair) for pair in ((x, x), (t, t), (labels, nothing), *((e, e) for e in x0)))
        ).chunk(2)
        (cond, *variance), uncond = cond.split(x.shape[1], dim=1), uncond[:, : x.shape[1]]
        output = uncond + weight * (cond - uncond)
        if rescale:
            output = output * (
                rescale * _std(cond) / _std(output).clamp(min=torch.finfo(x.dtype).tiny) + 1 - rescale
            )
        return torch.cat((torch.where(acts.view(-1, *[1] * (x.ndim - 1)), output, cond), *variance), dim=1)

    return at


def _std(x: Tensor) -> Tensor:
    """Over each image's elements, [n, 1, …]."""
    return x.std(dim=tuple(range(1, x.ndim)), correction=0, keepdim=True)
