"""The learning rate of each step, and what a changed budget does to it."""

from __future__ import annotations

import math

from ..spec.schema import TrainSpec


def learning_rate(train: TrainSpec, step: int, total: int) -> float:
    """Of the step with that number (from 0): linear warm-up, then constant, or a fall to 0 at the end of the budget."""
    if step < train.warmup_steps:
        return train.lr * (step + 1) / train.warmup_steps
    done = (step - train.warmup_steps) / max(1, total - train.warmup_steps)
    factor = {"constant": 1.0, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done}[
        train.lr_schedule
    ]
    return train.lr * factor


def jump(train: TrainSpec, done: int, total: int, before: float, factor: float = 1.0) -> str:
    """What is worth saying where a run goes on after `done` steps with a budget of `total` steps that it did not have before.

    `before` is what the schedule gave the last of these steps. The schedule is that of the new budget from then on, as no
    step can be taken back, so the rate may jump; empty where it goes on as the schedule has it. `factor` multiplies both rates.
    """
    if (
        done == 0
        or done >= total
        or math.isclose(before, learning_rate(train, done - 1, total), rel_tol=1e-6)
    ):
        return ""
    after = learning_rate(train, done, total)
    return (
        f"train.lr_schedule: {train.lr_schedule} now ends at step {total:,}, so the learning rate goes from {before * factor:.3g} in step"
        f" {done:,} to {after * factor:.3g} in step {done + 1:,}; a run with this budget from the start would differ"
    )
