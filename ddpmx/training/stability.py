"""When training goes wrong: what is told of a step whose loss or gradient is not finite, and the verdict on a loss that grew, or
grew and fell again.

A loss that is finite says little by itself: `vlb` with `clip: 100` weighs one index of 500 a hundredfold, and a batch's loss is 150
times the median whenever that index is drawn. So a step's loss is compared with what an output of 0 would have on the same batch,
by the weights of its timesteps, and a mean over 100 steps with the lowest such mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from ..errors import RunError
from .events import Unstable

MOST_SKIPPED = 10
"""Batches in a row that `on_nan: skip` leaves out before the run is given up."""
MOST_ROLLBACKS = 3
"""Times that `on_nan: rollback` goes back before the run is given up."""
STRETCH = 100
"""Steps over which the training loss is averaged before it is compared: single batches vary too much."""
GROWN = 10.0
"""A loss so many times its lowest has diverged."""
SPIKE = 5.0
"""A step's loss so many times that of an output of 0 is a spike. Measured, single steps: at most 1.5 where training is sound (digits and
Fashion-MNIST; l2, l1, EDM, flow, `vlb` with clip 1, and clip 100 with bounded gradients), and 19 and 57 within 400 steps of two seeds of
`vlb` with clip 100 and gradients without a bound."""
ZERO_OUTPUT, LOWEST = "that of a network that puts out 0", f"the lowest mean of {STRETCH} steps before"
BINS = 10
NAMED = 20


class BadStepFacts(TypedDict):
    """What helps to find the cause of a step that is not finite; a number that is not finite is a string, as JSON has none."""

    at_step: int
    loss: float | str
    grad_norm: float | str
    t_histogram: list[int]
    largest_loss_weight: float | str
    largest_parameter: float | str
    bad_losses: int
    images: list[int]


class Diverged(RunError):
    """A step's loss or gradient is not finite; the weights are untouched. `facts` go into metrics.jsonl."""

    def __init__(self, facts: BadStepFacts, after: str = "") -> None:
        super().__init__(
            f"diverged at step {facts['at_step']}: {told(facts)}; the weights are untouched{after}"
        )
        self.facts = facts


@dataclass(frozen=True)
class BadStep:
    """A whole batch, all on the CPU: its image ids and timesteps, int64 [B], and the losses of its images [B]."""

    ids: Tensor
    t: Tensor
    losses: Tensor
    loss: float
    grad_norm: float

    def facts(self, step: int, timesteps: int, weight: Tensor, parameters: Iterable[Tensor]) -> BadStepFacts:
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
            "largest_parameter": _number(
                max(float(parameter.detach().abs().max()) for parameter in parameters)
            ),
            "bad_losses": len(bad),
            "images": self.ids[suspects[:NAMED]].tolist(),
        }


def told(facts: BadStepFacts) -> str:
    """The facts in a line."""
    images = ", ".join(map(str, facts["images"][:5])) + (", …" if len(facts["images"]) > 5 else "")
    which = (
        f"{facts['bad_losses']} of the losses are not finite, of images"
        if facts["bad_losses"]
        else "the largest losses are of images"
    )
    return (
        f"the loss is {facts['loss']}, the gradient's norm {facts['grad_norm']}, the largest weight of a loss"
        f" {facts['largest_loss_weight']}, the largest parameter {facts['largest_parameter']}; {which} {images};"
        f" timesteps in {len(facts['t_histogram'])} equal stretches: {facts['t_histogram']}"
    )


@dataclass
class Stability:
    """What the losses of the steps so far say of the training; part of a checkpoint's counters."""

    stretch_sum: float = 0.0
    stretch_nothing: float = 0.0
    stretch_steps: int = 0
    """Of the stretch of steps under way: sums of their losses and of those of an output of 0, and their count."""
    stretch_loss: float = 0.0
    lowest_stretch: float = math.inf
    """The mean loss of the last whole stretch, and the lowest of all."""
    stretch_bound: float = 0.0
    """The mean loss of an output of 0 over the last whole stretch."""
    rise: float = 0.0
    rise_step: int = 0
    """The largest mean of a stretch in units of the lowest before it, and the stretch's last step."""
    spike: float = 0.0
    spike_step: int = 0
    """The largest loss of a step in units of that of an output of 0, and the step."""
    unstable_step: int = 0
    """The last step that was a spike, or that ended a stretch which had GROWN."""

    def add_step(self, step: int, loss: float, zero_loss: float) -> None:
        """Take in a step's mean loss, and what an output of 0 would have there (inf: not known)."""
        if loss > self.spike * zero_loss:
            self.spike, self.spike_step = loss / zero_loss, step
        if loss > SPIKE * zero_loss:
            self.unstable_step = step
        self.stretch_sum += loss
        self.stretch_nothing += zero_loss
        self.stretch_steps += 1
        if self.stretch_steps == STRETCH:
            self._end_stretch(step)

    def _end_stretch(self, step: int) -> None:
        self.stretch_loss = self.stretch_sum / STRETCH
        self.stretch_bound = self.stretch_nothing / STRETCH
        rise = self.stretch_loss / self.lowest_stretch if self.lowest_stretch > 0 else 0.0
        if rise > self.rise:
            self.rise, self.rise_step = rise, step
        if rise > GROWN:
            self.unstable_step = step
        self.lowest_stretch = min(self.lowest_stretch, self.stretch_loss)
        self.stretch_sum, self.stretch_nothing, self.stretch_steps = 0.0, 0.0, 0

    def instability(self, step: int, diverged: bool) -> Unstable | None:
        """Whether the loss was ever unstable up to the step: where the most, by which factor, of what, and whether it has recovered.

        That it has, if 100 steps went by since, the last whole stretch is below an output of 0, and the verdict is not that the run
        diverged; `now` is that stretch's mean in units of an output of 0, None where they are not known. None for a run that was never
        unstable.
        """
        if not self.unstable_step:
            return None
        spike = self.spike / SPIKE > self.rise / GROWN
        at, factor, of = (
            (self.spike_step, self.spike, ZERO_OUTPUT) if spike else (self.rise_step, self.rise, LOWEST)
        )
        recovered = (
            step - self.unstable_step >= STRETCH and self.stretch_loss < self.stretch_bound and not diverged
        )
        now = self.stretch_loss / self.stretch_bound if 0 < self.stretch_bound < math.inf else None
        return {"at_step": at, "factor": factor, "of": of, "recovered": recovered, "now": now}


def told_instability(facts: Unstable) -> str:
    """The facts of `Stability.instability` in a line."""
    since = "recovered" if facts["recovered"] else "has not recovered"
    now = (
        ""
        if facts["now"] is None
        else f": over the last {STRETCH} steps it is {facts['now']:,.3g} times {ZERO_OUTPUT}"
    )
    return f"training was unstable: at step {facts['at_step']} the loss was {facts['factor']:,.3g} times {facts['of']}; it {since}{now}"


def verdict(*, stretch: float, lowest_stretch: float, validation: float, lowest_validation: float) -> str:
    """What to say of a loss that has diverged without a number that is not finite; empty where it has not.

    `stretch` is the mean training loss of the last 100 steps, `lowest_stretch` the lowest such mean of the run (inf: none yet, or it
    is no measure); the validation loss counts likewise, and as diverged where it is not finite.
    """
    if not math.isfinite(validation):
        return f"the loss diverged: on the validation images it is {validation}"
    losses = {
        f"of the last {STRETCH} steps": (stretch, lowest_stretch),
        "on the validation images": (validation, lowest_validation),
    }
    grown = [
        f"{where} it is {now:.4g}, {now / lowest:,.0f} times its lowest"
        for where, (now, lowest) in losses.items()
        if 0 < lowest < math.inf and now > GROWN * lowest
    ]
    return f"the loss diverged: {', '.join(grown)}" if grown else ""


def _number(value: float) -> float | str:
    """JSON has no word for infinity."""
    return value if math.isfinite(value) else str(value)
