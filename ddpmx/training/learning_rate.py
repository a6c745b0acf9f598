"""The learning rate of each step, and how it changes when a run is resumed with another budget."""

from __future__ import annotations

import math

from ..spec.schema import TrainSpec


def learning_rate(train: TrainSpec, step: int, total: int) -> float:
    """The scheduled rate of a step, counted from 0, in a budget of `total` steps.

    A linear warm-up, followed by a constant rate or a decay to 0 at the end of the budget.
    """
    if step < train.warmup_steps:
        return train.lr * (step + 1) / train.warmup_steps
    done = (step - train.warmup_steps) / max(1, total - train.warmup_steps)
    factor = {"constant": 1.0, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done}[
        train.lr_schedule
    ]
    return train.lr * factor


def budget_note(train: TrainSpec, done: int, total: int, before: float, factor: float = 1.0) -> str:
    """A note if the learning rate jumps when a run is resumed after `done` steps with a budget of `total`.

    `before` is the scheduled rate of the last step. From here on the schedule is that of the new budget, so
    the rate may jump; the note is empty if it does not. `factor` multiplies both rates.
    """
    if (
        done == 0
        or done >= total
        or math.isclose(before, learning_rate(train, done - 1, total), rel_tol=1e-6)
    ):
        return ""
    after = learning_rate(train, done, total)
    return (
        f"train.lr_schedule: {train.lr_schedule} now ends at step {total:,}, so the learning rate goes from"
        f" {before * factor:.3g} in step {done:,} to {after * factor:.3g} in step {done + 1:,};"
        " a run with this budget from the start would differ"
    )
