"""The hot math in the forms that are compared: eager torch as the field writes it, and `ddpmx.ops`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpmx import Noise, ops
from ddpmx.rows import Row

SHAPES = [(128, 1, 28, 28), (128, 3, 32, 32), (64, 3, 128, 128)]
GPU_SHAPES = [(4096, 3, 32, 32)]
STEP = Row(t=500, x0_from_x=1.1, x0_from_output=-0.5, c_x=0.4, c_x0=0.6, c_noise=0.1)
LAST = Row(t=500, x0_from_x=1.1, x0_from_output=-0.5, c_x=0.4, c_x0=0.6)


@dataclass
class Batch:
    """Inputs of one shape and dtype."""

    x: Tensor
    """The images or the state, [n, c, h, w]."""
    output: Tensor
    """The network's output, of the same shape; it requires a gradient."""
    noise: Tensor
    """ε, of the same shape."""
    v: Tensor
    """A coefficient per sample, [n]."""
    w: Tensor
    """Another coefficient per sample, [n]."""
    ids: Tensor
    """The sample ids, [n]."""

    @classmethod
    def of(cls, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Batch:
        x, output, noise = (torch.randn(shape, device=device).to(dtype) for _ in range(3))
        v, w = (torch.rand(shape[0], device=device) + 0.1 for _ in range(2))
        return cls(x, output.requires_grad_(), noise, v, w, torch.arange(shape[0], device=device))

    def epsilon(self, given: Tensor | None = None) -> Noise:
        """The source of ε: the generator, or a given tensor."""
        return Noise(1, 2, self.ids, given)

    def wide(self, v: Tensor) -> Tensor:
        """A vector [n] as [n, 1, 1, 1], in x's dtype."""
        return v.to(self.x.dtype).view(-1, *[1] * (self.x.ndim - 1))


def mse(b: Batch, noise: Tensor) -> Tensor:
    return b.w * torch.nn.functional.mse_loss(b.output, noise, reduction="none").flatten(1).mean(1)


def fused_loss(b: Batch, noise: Tensor | None) -> Tensor:
    return ops.weighted_loss(b.output, b.x, 0 * b.v, torch.ones_like(b.v), b.w, noise=b.epsilon(noise))


def eager_reverse(b: Batch, noisy: bool) -> Tensor:
    x, output = b.x, b.output.detach()
    x0 = (STEP.x0_from_x * x + STEP.x0_from_output * output).clamp(-1, 1)
    x_next = STEP.c_x * x + STEP.c_x0 * x0
    return x_next + STEP.c_noise * torch.randn_like(x) if noisy else x_next


def fused_reverse(b: Batch, row: Row) -> Tensor:
    """The call of the sampling loop, which writes into x."""
    return ops.reverse_step(b.x, b.output.detach(), row, clip=1.0, want_m=False, out=b.x, noise=b.epsilon())[
        0
    ]


def eager_step(b: Batch) -> tuple[Tensor, Tensor]:
    noise = torch.randn_like(b.x)
    return mse(b, noise), b.wide(b.v) * b.x + b.wide(b.w) * noise


def fused_step(b: Batch) -> tuple[Tensor, Tensor]:
    """The calls of a training step, in `ddpmx/objective/steps.py`."""
    noise = None if b.x.is_cuda else ops.normal(noise=b.epsilon(), shape=b.x.shape[1:])
    x_t = ops.add_noise(b.x, b.v, b.w, noise=b.epsilon(noise))
    return fused_loss(b, noise), x_t


Way = Callable[[Batch], Tensor | tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """One operation in its two forms."""

    eager: Way
    """The form in eager torch."""
    fused: Way
    """The form in `ddpmx.ops`."""
    values: int
    """The numbers of the batch's dtype that must at least be read and written per element."""
    backward: bool = False
    """Whether the (first) result is a loss, and its gradient for the network's output is measured too."""

    def run(self, function: Way, batch: Batch) -> None:
        result = function(batch)
        if self.backward:
            loss = result if isinstance(result, Tensor) else result[0]
            torch.autograd.grad(loss.sum(), batch.output)


CASES = {
    "normal": Case(
        lambda b: torch.randn(b.x.shape, device=b.x.device),
        lambda b: ops.normal(noise=b.epsilon(), shape=b.x.shape[1:]),
        1,
    ),
    "add_noise": Case(
        lambda b: b.wide(b.v) * b.x + b.wide(b.w) * torch.randn_like(b.x),
        lambda b: ops.add_noise(b.x, b.v, b.w, noise=b.epsilon()),
        2,
    ),
    "reverse_step, noise and clip": Case(
        lambda b: eager_reverse(b, True), lambda b: fused_reverse(b, STEP), 3
    ),
    "reverse_step, clip": Case(lambda b: eager_reverse(b, False), lambda b: fused_reverse(b, LAST), 3),
    "loss, noise made": Case(lambda b: mse(b, b.noise), lambda b: fused_loss(b, None), 3, backward=True),
    "loss, noise given": Case(lambda b: mse(b, b.noise), lambda b: fused_loss(b, b.noise), 4, backward=True),
    "noising and loss": Case(eager_step, fused_step, 5, backward=True),
}
