"""The probability-flow ODE of a diffusion model, at any signal and sigma: its variable, and its steps.

The flow moves an image to noise without randomness (Song et al. 2021, arXiv:2011.13456, eq. 13). Here it is
written in the angle θ with tan θ = sigma/signal, for the scaled state y = x/√(signal² + sigma²)::

    y = cos θ·x_0 + sin θ·ε        dy/dθ = cos θ·ε − sin θ·x_0

where x_0 and ε are the network's estimates (Salimans & Ho 2022, arXiv:2202.00512, appendix D). Steps are even
in a variable u that resolves little noise evenly in log-SNR. It is one of two::

    u = log tan θ = −½·log-SNR        dy/du = cos θ·(cos θ·y − x_0)
    u = log tan(θ/2)                  dy/du = cos θ·y − x_0,   log-SNR = 2·log sinh(−u)

The first resolves much noise too, as is needed where x_0 is the quotient (x − sigma·ε)/signal of a predicted
ε: an error of ε grows there as 1/signal. The second has pure noise at u = 0, not infinitely far away, and
suits predictions that give x_0 there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

import torch
from torch import Tensor

from ..errors import SpecError
from ..predictions import Prediction
from ..schedules import Table


@dataclass(frozen=True)
class Node:
    """A noise level of the flow: dy/du = from_y·y + from_output·output, the network's output for scale·y."""

    u: float
    t: float
    """The table index, perhaps fractional."""
    scale: float
    """√(signal² + sigma²)."""
    from_y: float
    from_output: float


@dataclass(frozen=True)
class Step:
    """A step from one node to another.

    It has order 4 if there is a middle. Next to an infinite log-SNR there is none, as the table has nothing
    between those indices: the step then has order 2, or 1 if it is `coarse`.
    """

    start: Node
    middle: Node | None
    end: Node
    coarse: bool = False


@dataclass(frozen=True)
class Flow:
    """The steps from index 0 to the last index, and about half as many larger ones for the error."""

    fine: tuple[Step, ...]
    coarse: tuple[Step, ...]


def flow(table: Table, prediction: Prediction, steps: int) -> Flow:
    """The flow of a table in about `steps` steps, evenly spaced in u as far as its indices allow.

    Steps begin and end at whole indices, except between two indices that are further apart than a step: t is
    not smooth in u at the indices. Raises SpecError if index 0 has no noise, if there is a single timestep,
    or if the prediction does not give x_0 at some index.
    """
    if table.timesteps == 1:
        raise SpecError("the flow needs at least 2 timesteps, and the schedule has 1")
    if not bool(table.log_snr[0].isfinite()):
        raise SpecError("the flow needs noise at every index, and index 0 has none")
    path = _Path(table, prediction)
    count = table.timesteps - (not bool(table.log_snr[-1].isfinite()))
    fine = [path.node(t) for t in path.indices(count, steps)]
    coarse = fine[::2] if len(fine) % 2 else [*fine[::2], fine[-1]]

    def joined(nodes: list[Node], is_coarse: bool) -> tuple[Step, ...]:
        steps = [
            Step(start, path.node(path.index_at((start.u + end.u) / 2)), end, is_coarse)
            for start, end in pairwise(nodes)
        ]
        if count < table.timesteps:
            steps.append(Step(nodes[-1], None, path.node(float(count)), is_coarse))
        return tuple(steps)

    return Flow(joined(fine, False), joined(coarse, True))


class _Path:
    """A table's indices along the variable u."""

    def __init__(self, table: Table, prediction: Prediction) -> None:
        self.table, self.prediction = table, prediction
        zero = torch.zeros(1, dtype=torch.float64)
        # at pure noise x is ε, so that the output gives x_0 if x_0 is part of it
        self.to_pure_noise = bool(prediction.target(zero, zero + 1)[0] != 0)
        self.u = self._u(table.signal, table.sigma)

    def _u(self, signal: Tensor, sigma: Tensor) -> Tensor:
        return -torch.asinh(signal / sigma) if self.to_pure_noise else sigma.log() - signal.log()

    def indices(self, count: int, steps: int) -> list[float]:
        """The indices between steps, among the first `count` of the table."""
        u = self.u[:count]
        largest = float(self.u[-1] - u[0]) / steps
        if not math.isfinite(largest):
            _refuse(self.table.timesteps - 1)
        indices, i, slack = [0.0], 0, 1e-9 * largest
        while i < count - 1:
            # the furthest index within reach, or else the next one, in equal parts
            reached = int(torch.searchsorted(u, float(u[i]) + largest + slack, right=True)) - 1
            j = max(i + 1, reached)
            parts = max(1, math.ceil((float(u[j] - u[i]) - slack) / largest))
            indices += [self.index_at(float(u[i] + (u[j] - u[i]) * k / parts)) for k in range(1, parts)]
            indices.append(float(j))
            i = j
        return indices

    def index_at(self, u: float) -> float:
        """The index at u between two indices of finite log-SNR, which is linear there."""
        log_snr = 2 * math.log(math.sinh(-u)) if self.to_pure_noise else -2 * u
        below = int(torch.searchsorted(self.u, u, right=True)) - 1
        below = min(max(below, 0), self.table.timesteps - 2)
        before, after = (float(value) for value in self.table.log_snr[below : below + 2])
        return below + min(max((before - log_snr) / (before - after), 0.0), 1.0)

    def node(self, t: float) -> Node:
        """The node at an index. Raises SpecError if the prediction does not give x_0 there."""
        signal, sigma = self.table.at(torch.tensor([t], dtype=torch.float64))
        target_x, target_eps = self.prediction.target(signal, sigma)
        # output = target_x·x_0 + target_eps·ε and x = signal·x_0 + sigma·ε, solved for cos θ·y − x_0:
        # (sigma·output − sigma·(signal·target_x + sigma·target_eps)/scale·y)/determinant
        determinant = signal * target_eps - sigma * target_x
        scale = torch.hypot(signal, sigma)
        from_output = sigma / determinant * (1 if self.to_pure_noise else signal / scale)
        from_y = -from_output * (signal * target_x + sigma * target_eps) / scale
        if not bool(torch.stack((from_y, from_output)).isfinite().all()):
            _refuse(t)
        return Node(float(self._u(signal, sigma)), t, float(scale), float(from_y), float(from_output))


def _refuse(t: float) -> NoReturn:
    message = f"the flow needs x_0, which cannot be computed from the prediction at index {t:g}"
    raise SpecError(message, hint="set prediction: v")
