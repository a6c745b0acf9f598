"""Detection of unstable training: steps that are not finite, and losses that diverge or grow and recover.

A finite loss says little by itself: `vlb` with `clip: 100` weights one index of 500 by 100, and a batch's
loss is 150 times the median whenever that index is drawn. So a step's loss is compared with the loss of an
output of 0 on the same batch, which has the same weights, and the mean over 100 steps with the lowest such
mean so far.
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

MAX_SKIPPED = 10
"""Batches in a row that `on_nan: skip` may skip before the run fails."""
MAX_ROLLBACKS = 3
"""Number of times that `on_nan: rollback` rolls back before the run fails."""
STRETCH = 100
"""Steps over which the training loss is averaged before it is compared: single batches vary too much."""
DIVERGED_FACTOR = 10.0
"""A loss more than this many times its lowest counts as diverged."""
SPIKE_FACTOR = 5.0
"""A step's loss more than this many times the loss of an output of 0 counts as a spike.

Measured for single steps: at most 1.5 in sound training (digits and Fashion-MNIST; l2, l1, EDM, flow, `vlb`
with clip 1, and clip 100 with clipped gradients), but 19 and 57 within 400 steps for two seeds of `vlb` with
clip 100 and gradients that are not clipped."""
ZERO_OUTPUT = "that of a network that outputs 0"
LOWEST_MEAN = f"the lowest earlier mean of {STRETCH} steps"
BINS = 10
"""Most bins of a histogram of timesteps."""
MAX_IMAGES = 20
"""Most images reported for a step that is not finite."""


class BadStepFacts(TypedDict):
    """Facts about a step that is not finite.

    Such numbers are strings, since JSON has neither infinity nor NaN.
    """

    at_step: int
    """The step, counted from 1."""
    loss: float | str
    """The batch's mean objective."""
    grad_norm: float | str
    """The gradient's norm before clipping."""
    t_histogram: list[int]
    """Number of the batch's timesteps in each of at most 10 equal ranges, from low noise to high."""
    largest_loss_weight: float | str
    """Largest loss weight of the batch's timesteps."""
    largest_parameter: float | str
    """Largest absolute value of a parameter."""
    bad_losses: int
    """Number of images whose loss is not finite."""
    images: list[int]
    """Ids of these images; if there are none, those with the largest losses, in descending order."""


class Diverged(RunError):
    """A step's loss or gradient is not finite, and the weights are unchanged.

    `facts` are logged in metrics.jsonl.
    """

    def __init__(self, facts: BadStepFacts, after: str = "") -> None:
        message = bad_step_message(facts)
        super().__init__(f"diverged at step {facts['at_step']}: {message}; the weights are unchanged{after}")
        self.facts = facts


@dataclass(frozen=True)
class BadStep:
    """A step that is not finite, with its whole batch on the CPU."""

    ids: Tensor
    """Image ids, int64 [B]."""
    t: Tensor
    """Timesteps, int64 [B]."""
    losses: Tensor
    """Loss of each image, [B]."""
    loss: float
    """The batch's mean objective."""
    grad_norm: float
    """The gradient's norm before clipping."""

    def facts(self, step: int, timesteps: int, weight: Tensor, parameters: Iterable[Tensor]) -> BadStepFacts:
        """Facts that help to find the cause. `weight` [timesteps] is the loss weight at each timestep."""
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
            "images": self.ids[suspects[:MAX_IMAGES]].tolist(),
        }


def bad_step_message(facts: BadStepFacts) -> str:
    """The facts in one line."""
    images = ", ".join(map(str, facts["images"][:5])) + (", …" if len(facts["images"]) > 5 else "")
    which = (
        f"losses that are not finite: {facts['bad_losses']}, of images"
        if facts["bad_losses"]
        else "the largest losses are of images"
    )
    return (
        f"the loss is {facts['loss']}, the gradient's norm {facts['grad_norm']},"
        f" the largest loss weight {facts['largest_loss_weight']},"
        f" the largest parameter {facts['largest_parameter']}; {which} {images};"
        f" timesteps in {len(facts['t_histogram'])} equal ranges: {facts['t_histogram']}"
    )


@dataclass
class Stability:
    """Statistics of the losses so far that reveal instability; part of a checkpoint's counters."""

    stretch_sum: float = 0.0
    """Sum of the losses in the current stretch of 100 steps."""
    stretch_nothing: float = 0.0
    """Sum of the losses of an output of 0 in the current stretch."""
    stretch_steps: int = 0
    """Number of steps in the current stretch."""
    stretch_loss: float = 0.0
    """Mean loss of the last whole stretch."""
    lowest_stretch: float = math.inf
    """Lowest mean loss of a stretch so far."""
    stretch_bound: float = 0.0
    """Mean loss of an output of 0 over the last whole stretch."""
    rise: float = 0.0
    """Largest ratio of a stretch's mean loss to the lowest one before it."""
    rise_step: int = 0
    """Last step of that stretch."""
    spike: float = 0.0
    """Largest ratio of a step's loss to that of an output of 0."""
    spike_step: int = 0
    """The step of that spike."""
    unstable_step: int = 0
    """The last step that was a spike, or that ended a stretch above DIVERGED_FACTOR."""

    def add_step(self, step: int, loss: float, zero_loss: float) -> None:
        """Record a step's mean loss, and the loss of an output of 0 on the same batch (inf: unknown)."""
        if loss > self.spike * zero_loss:
            self.spike, self.spike_step = loss / zero_loss, step
        if loss > SPIKE_FACTOR * zero_loss:
            self.unstable_step = step
        self.stretch_sum += loss
        self.stretch_nothing += zero_loss
        self.stretch_steps += 1
        if self.stretch_steps == STRETCH:
            self._end_stretch(step)

    def _end_stretch(self, step: int) -> None:
        """Compare the mean of the stretch that ends here with the lowest one, and start the next."""
        self.stretch_loss = self.stretch_sum / STRETCH
        self.stretch_bound = self.stretch_nothing / STRETCH
        rise = self.stretch_loss / self.lowest_stretch if self.lowest_stretch > 0 else 0.0
        if rise > self.rise:
            self.rise, self.rise_step = rise, step
        if rise > DIVERGED_FACTOR:
            self.unstable_step = step
        self.lowest_stretch = min(self.lowest_stretch, self.stretch_loss)
        self.stretch_sum, self.stretch_nothing, self.stretch_steps = 0.0, 0.0, 0

    def instability(self, step: int, diverged: bool) -> Unstable | None:
        """Where the loss was most unstable, by what factor, and whether it recovered; None if it never was.

        It has recovered if at least 100 steps have passed since, the last whole stretch is below the loss of
        an output of 0, and the verdict is not that the run `diverged`. `now` is the ratio of that stretch's
        mean to the loss of an output of 0, None if that is unknown.
        """
        if not self.unstable_step:
            return None
        if self.spike / SPIKE_FACTOR > self.rise / DIVERGED_FACTOR:
            worst, factor, reference = self.spike_step, self.spike, ZERO_OUTPUT
        else:
            worst, factor, reference = self.rise_step, self.rise, LOWEST_MEAN
        recovered = (
            step - self.unstable_step >= STRETCH and self.stretch_loss < self.stretch_bound and not diverged
        )
        now = self.stretch_loss / self.stretch_bound if 0 < self.stretch_bound < math.inf else None
        return {"at_step": worst, "factor": factor, "of": reference, "recovered": recovered, "now": now}


def instability_message(facts: Unstable) -> str:
    """The facts of `Stability.instability` in one line."""
    outcome = "recovered" if facts["recovered"] else "has not recovered"
    now = (
        ""
        if facts["now"] is None
        else f": over the last {STRETCH} steps it is {facts['now']:,.3g} times {ZERO_OUTPUT}"
    )
    peak = f"at step {facts['at_step']} the loss was {facts['factor']:,.3g} times {facts['of']}"
    return f"training was unstable: {peak}; it {outcome}{now}"


def verdict(*, stretch: float, lowest_stretch: float, validation: float, lowest_validation: float) -> str:
    """A message if the loss has diverged although every step was finite; empty otherwise.

    `stretch` is the mean training loss of the last 100 steps, `lowest_stretch` the lowest such mean of the
    run (inf: none yet, or not to be compared). The validation loss is judged in the same way, and also counts
    as diverged if it is not finite.
    """
    if not math.isfinite(validation):
        return f"the loss diverged: on the validation images it is {validation}"
    losses = {
        f"over the last {STRETCH} steps": (stretch, lowest_stretch),
        "on the validation images": (validation, lowest_validation),
    }
    grown = [
        f"{where} it is {now:.4g}, {now / lowest:,.0f} times its lowest"
        for where, (now, lowest) in losses.items()
        if 0 < lowest < math.inf and now > DIVERGED_FACTOR * lowest
    ]
    return f"the loss diverged: {', '.join(grown)}" if grown else ""


def _number(value: float) -> float | str:
    """The value, or its name if it is not finite, which JSON can't express."""
    return value if math.isfinite(value) else str(value)
