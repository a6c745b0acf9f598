"""The density of a diffusion model at single images, along its probability-flow ODE.

Along the flow of `flow.py`, the density changes by the trace of the velocity's Jacobian (Song et al. 2021,
arXiv:2011.13456, appendix D.2)::

    log p(y_0) = log p(y_T) + ∫ tr ∂(dy/du)/∂y du        log p(x_0) = log p(y_0) − d·log √(signal² + sigma²)

where y_T ~ N(0, I), as sampling starts from N(0, signal² + sigma²). The trace is exact, with a gradient per
dimension, or estimated with random signs e as eᵀ·J·e, which is unbiased (Hutchinson 1990; Grathwohl et al.
2019, arXiv:1810.01367).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .. import ops
from ..errors import SpecError
from ..ops import Noise, Purpose, stream
from .flow import Flow, Node, Step

Denoise = Callable[[Tensor, Tensor], Tensor]
"""denoise(x, t): the network's output [n, c or 2c, …] for the states x [n, c, …] at table indices t [n], in
x's dtype and differentiable in x. An image's output depends on that image alone."""
Progress = Callable[[int, int], None]
"""Called with the steps done and their number."""
EXACT_DIMENSIONS = 64
"""The largest number of dimensions for which the trace is exact unless probes are asked for."""


class Density(NamedTuple):
    """log p at index 0 in nats, [n] each: in the flow's fine steps, and in its coarse ones.

    The difference is larger than the error of `log_p` wherever halving the steps at least halves the error.
    """

    log_p: Tensor
    coarse: Tensor


@dataclass(frozen=True)
class Probes:
    """Random signs that estimate a trace; those of an image depend on its id, the seed and the count."""

    count: int | None
    """Number of probes; None: none up to 64 dimensions, where the trace is exact, else 1."""
    seed: int
    sample_ids: Tensor
    """int64 [n]."""

    def signs(self, like: Tensor) -> list[Tensor]:
        """The probes of images of this shape and dtype, in [n, …] each; empty for the exact trace."""
        exact = self.count is None and like[0].numel() <= EXACT_DIMENSIONS
        signs = []
        for k in range(0 if exact else self.count or 1):
            noise = Noise(self.seed, stream(Purpose.PROBE, k), self.sample_ids)
            positive = ops.normal(noise=noise, shape=like.shape[1:]) >= 0
            signs.append(positive.to(like.dtype) * 2 - 1)
        return signs


def log_density(
    denoise: Denoise,
    flow: Flow,
    x: Tensor,
    probes: Probes,
    progress: Progress | None = None,
) -> Density:
    """log p of the states x [n, c, …] at index 0, float64.

    Raises SpecError if the network has no gradient in x.
    """
    field, total = _Field(denoise, probes.signs(x)), len(flow.fine) + len(flow.coarse)

    def along(steps: Sequence[Step], before: int) -> Tensor:
        y = x / steps[0].start.scale
        here = field.with_trace(steps[0].start, y)
        change = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for k, step in enumerate(steps):
            if progress is not None:
                progress(before + k, total)
            y, here, integral = _advance(field, step, y, here)
            change += integral
        # log N(y; 0, I) − d·log scale
        each = 0.5 * math.log(2 * math.pi) + math.log(steps[0].start.scale)
        return change - (0.5 * y.double().square() + each).flatten(1).sum(1)

    return Density(along(flow.fine, 0), along(flow.coarse, len(flow.fine)))


class _Velocity(NamedTuple):
    """dy/du [n, c, …], and the trace of its Jacobian [n]."""

    dy: Tensor
    trace: Tensor


@dataclass(frozen=True)
class _Field:
    """The velocity of the flow for one batch."""

    denoise: Denoise
    signs: list[Tensor]
    """The probes, [n, c, …] each; empty for the exact trace."""

    @torch.no_grad()
    def velocity(self, node: Node, y: Tensor) -> Tensor:
        return node.from_y * y + node.from_output * self._output(node, y * node.scale)

    def with_trace(self, node: Node, y: Tensor) -> _Velocity:
        with torch.enable_grad():
            x = (y * node.scale).detach().requires_grad_()
            output = self._output(node, x)
        if not output.requires_grad:
            raise SpecError("the flow needs the network's gradient in its input, and there is none")
        count = len(self.signs) or x[0].numel()
        trace = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for k in range(count):
            if self.signs:
                probe = self.signs[k]
            else:
                probe = torch.zeros_like(output)
                probe.flatten(1)[:, k] = 1
            # the gradient of probe·output, times the probe: probeᵀ·J·probe
            (gradient,) = torch.autograd.grad(output, x, probe, retain_graph=k < count - 1)
            trace += (gradient * probe).flatten(1).sum(1)
        # the probes' mean; the exact trace is the sum over the dimensions
        trace /= len(self.signs) or 1
        # ∂(dy/du)/∂y = from_y·I + from_output·scale·∂output/∂x
        trace = node.from_y * x[0].numel() + node.from_output * node.scale * trace
        return _Velocity(node.from_y * y + node.from_output * output.detach(), trace)

    def _output(self, node: Node, x: Tensor) -> Tensor:
        t = torch.full((len(x),), node.t, dtype=torch.float64, device=x.device)
        return self.denoise(x, t)[:, : x.shape[1]]


def _advance(field: _Field, step: Step, y: Tensor, here: _Velocity) -> tuple[Tensor, _Velocity, Tensor]:
    """(y, velocity, ∫ trace du) at the end of a step, from y and the velocity at its start.

    With a middle: the Runge-Kutta method of order 4 for y, and Simpson's rule for the trace, whose y in the
    middle is Hermite's cubic. Without: Heun's method and the trapezoid rule, or Euler's method for both.
    """
    h, k1 = step.end.u - step.start.u, here.dy
    if step.middle is None and step.coarse:
        return y + h * k1, here, h * here.trace
    if step.middle is None:
        y_end = y + h / 2 * (k1 + field.velocity(step.end, y + h * k1))
        end = field.with_trace(step.end, y_end)
        return y_end, end, h / 2 * (here.trace + end.trace)
    k2 = field.velocity(step.middle, y + h / 2 * k1)
    k3 = field.velocity(step.middle, y + h / 2 * k2)
    k4 = field.velocity(step.end, y + h * k3)
    y_end = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    end = field.with_trace(step.end, y_end)
    middle = field.with_trace(step.middle, (y + y_end) / 2 + h / 8 * (k1 - end.dy))
    return y_end, end, h / 6 * (here.trace + 4 * middle.trace + end.trace)
