"""The probability-flow ODE of a diffusion model, at any signal and sigma: its variable, and its steps.

The flow moves an image to noise without randomness (Song et al. 2021, arXiv:2011.13456, eq. 13). Here it is
written in the angle θ with tan θ = sigma/signal, for the scaled state y = x/√(signal² + sigma²)::

    y = cos θ·x_0 + sin θ·ε        dy/dθ = cos θ·ε − sin θ·x_0

where x_0 and ε are the network's estimates (Salimans & Ho 2022, arXiv:2202.00512, appendix D). The variable of
the steps is w = log tan(θ/2), for which sin θ·dw = dθ::

    dy/dw = sin θ·dy/dθ = cos θ·y − x_0        signal/sigma = sinh(−w)

At little noise, even steps in w are even in log-SNR; at much noise they are even in θ, so that pure noise is at
w = 0 and not infinitely far away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import SpecError
from ..predictions import Prediction
from ..schedules import Table


@dataclass(frozen=True)
class Node:
    """A noise level of the flow: dy/dw = from_y·y + from_output·output, the network's output for scale·y."""

    w: float
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

    @property
    def evaluations(self) -> int:
        """Number of network evaluations for an image, over both; see `density.log_density`."""
        return sum(
            1 + sum(5 if step.middle else 1 if step.coarse else 2 for step in steps)
            for steps in (self.fine, self.coarse)
        )


def flow(table: Table, prediction: Prediction, steps: int) -> Flow:
    """The flow of a table in about `steps` steps, evenly spaced in w as far as its indices allow.

    Steps begin and end at whole indices, except between two indices that are further apart than a step: t is
    not smooth in w at the indices. Raises SpecError if index 0 has no noise, if there is a single timestep, or
    if the prediction does not give x_0 at some index.
    """
    if table.timesteps == 1:
        raise SpecError("the flow needs at least 2 timesteps, and the schedule has 1")
    if not bool(table.log_snr[0].isfinite()):
        raise SpecError("the flow needs noise at every index, and index 0 has none")
    w = -torch.asinh(table.signal / table.sigma)  # [T]
    count = table.timesteps - (not bool(table.log_snr[-1].isfinite()))
    largest = float(w[-1] - w[0]) / steps
    fine = [_node(table, prediction, *point) for point in _points(table, w[:count], largest)]
    coarse = fine[::2] if len(fine) % 2 else [*fine[::2], fine[-1]]

    def joined(nodes: list[Node], is_coarse: bool) -> tuple[Step, ...]:
        steps = []
        for start, end in zip(nodes, nodes[1:], strict=False):
            w_middle = (start.w + end.w) / 2
            middle = _node(table, prediction, w_middle, _index_at(table, w_middle))
            steps.append(Step(start, middle, end, is_coarse))
        if count < table.timesteps:
            pure_noise = _node(table, prediction, float(w[-1]), float(count))
            steps.append(Step(nodes[-1], None, pure_noise, is_coarse))
        return tuple(steps)

    return Flow(joined(fine, False), joined(coarse, True))


def _points(table: Table, w: Tensor, largest: float) -> list[tuple[float, float]]:
    """(w, t) of the ends of steps of at most `largest`, from the first index of w [n] to its last."""
    points, i = [(float(w[0]), 0.0)], 0
    slack = 1e-9 * largest
    while i < len(w) - 1:
        # the furthest index within reach, or else the next one, in equal parts
        reached = int(torch.searchsorted(w, float(w[i]) + largest + slack, right=True)) - 1
        j = max(i + 1, reached)
        parts = max(1, math.ceil((float(w[j] - w[i]) - slack) / largest))
        for k in range(1, parts):
            inside = float(w[i] + (w[j] - w[i]) * k / parts)
            points.append((inside, _index_at(table, inside)))
        points.append((float(w[j]), float(j)))
        i = j
    return points


def _index_at(table: Table, w: float) -> float:
    """The index at w between two indices of finite log-SNR, which is linear there."""
    log_snr = 2 * math.log(math.sinh(-w))
    below = int(torch.searchsorted(-table.log_snr, -log_snr, right=True)) - 1
    below = min(max(below, 0), table.timesteps - 2)
    before, after = (float(value) for value in table.log_snr[below : below + 2])
    return below + min(max((before - log_snr) / (before - after), 0.0), 1.0)


def _node(table: Table, prediction: Prediction, w: float, t: float) -> Node:
    signal, sigma = table.at(torch.tensor([t], dtype=torch.float64))
    target_x, target_eps = prediction.target(signal, sigma)
    # output = target_x·x_0 + target_eps·ε and x = signal·x_0 + sigma·ε, solved for cos θ·y − x_0:
    # dy/dw = (sigma·output − sigma·(signal·target_x + sigma·target_eps)/scale·y)/determinant
    determinant = signal * target_eps - sigma * target_x
    scale = torch.hypot(signal, sigma)
    from_y = -sigma * (signal * target_x + sigma * target_eps) / (scale * determinant)
    from_output = sigma / determinant
    if not bool(torch.stack((from_y, from_output)).isfinite().all()):
        message = f"the flow needs x_0, which cannot be computed from the prediction at index {t:g}"
        raise SpecError(message, hint="set prediction: v")
    return Node(w, t, float(scale), float(from_y), float(from_output))
