"""When training goes wrong: what is told of a step whose loss or gradient is not finite, and the verdict on a loss that only grew."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import RunError

MOST_SKIPPED = 10
"""Batches in a row that `on_nan: skip` leaves out before the run is given up."""
MOST_ROLLBACKS = 3
"""Times that `on_nan: rollback` goes back before the run is given up."""
STRETCH = 100
"""Steps over which the training loss is averaged before it is compared: single batches vary too much."""
GROWN = 10.0
"""A loss so many times its lowest has diverged."""
BINS = 10
NAMED = 20


class Diverged(RunError):
    """A step's loss or gradient is not finite; the weights are untouched. `facts` go into metrics.jsonl."""

    def __init__(self, facts: dict[str, Any], after: str = "") -> None:
        super().__init__(f"diverged at step {facts['at_step']}: {told(facts)}; the weights are untouched{after}")
        self.facts = facts


@dataclass(frozen=True)
class BadStep:
    """A whole batch, all on the CPU: its image ids and timesteps, int64 [B], and the losses of its images [B]."""

    ids: Tensor
    t: Tensor
    losses: Tensor
    loss: float
    grad_norm: float

    def facts(self, step: int, timesteps: int, weight: Tensor, parameters: Iterable[Tensor]) -> dict[str, Any]:
        """What helps to find the cause. `weight` [timesteps] multiplies the loss at each.

        `t_histogram` counts the batch's timesteps in at most 10 equal stretches, from low noise to high. `images` are the ids whose
        loss is not finite; where all are (the gradient is not), those of the largest losses, the largest first.
        """
        bins = min(BINS, timesteps)
        bad = (~self.losses.isfinite()).nonzero().flatten()
        suspects = bad if len(bad) else self.losses.argsort(descending=True)
        return {
            "at_step": step,
            "loss": _number(self.loss),
            "grad_norm": _number(self.grad_norm),
            "t_histogram": torch.bincount(self.t * bins // timesteps, minlength=bins).tolist(),
            "largest_loss_weight": _number(float(weight[self.t].abs().max())),
            "largest_parameter": _number(max(float(parameter.detach().abs().max()) for parameter in parameters)),
            "bad_losses": len(bad),
            "images": self.ids[suspects[:NAMED]].tolist(),
        }


def told(facts: dict[str, Any]) -> str:
    """The facts in a line."""
    images = ", ".join(map(str, facts["images"][:5])) + (", …" if len(facts["images"]) > 5 else "")
    which = f"{facts['bad_losses']} of the losses are not finite, of images" if facts["bad_losses"] else "the largest losses are of images"
    return (
        f"the loss is {facts['loss']}, the gradient's norm {facts['grad_norm']}, the largest weight of a loss"
        f" {facts['largest_loss_weight']}, the largest parameter {facts['largest_parameter']}; {which} {images};"
        f" timesteps in {len(facts['t_histogram'])} equal stretches: {facts['t_histogram']}"
    )


def verdict(*, stretch: float, lowest_stretch: float, validation: float, lowest_validation: float) -> str:
    """What to say of a loss that has diverged without a number that is not finite; empty where it has not.

    `stretch` is the mean training loss of the last 100 steps, `lowest_stretch` the lowest such mean of the run (inf: none yet, or it
    is no measure); the validation loss counts likewise, and as diverged where it is not finite.
    """
    if not math.isfinite(validation):
        return f"the loss diverged: on the validation images it is {validation}"
    losses = {f"of the last {STRETCH} steps": (stretch, lowest_stretch), "on the validation images": (validation, lowest_validation)}
    grown = [
        f"{where} it is {now:.4g}, {now / lowest:,.0f} times its lowest"
        for where, (now, lowest) in losses.items()
        if 0 < lowest < math.inf and now > GROWN * lowest
    ]
    return f"the loss diverged: {', '.join(grown)}" if grown else ""


def _number(value: float) -> float | str:
    """JSON has no word for infinity."""
    return value if math.isfinite(value) else str(value)
