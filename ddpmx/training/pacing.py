"""When a run evaluates, draws and saves: functions of its epochs and steps alone, so that a resumed run does the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..schedules import Table
from ..spec.schema import Spec, TrainSpec

BACKWARD = 3
"""A training step costs about as much as so many passes forward."""
PER_GRID = 4
"""Where the spec does not say how often: training does at least so many times a grid's work before the next one is drawn."""


def max_epochs(train: TrainSpec) -> float:
    return train.epochs or (math.inf if train.steps else 100)


def max_steps(train: TrainSpec) -> float:
    return train.steps or math.inf


def steps_per_epoch(train: TrainSpec, images: int) -> int:
    """Optimizer steps of one pass; its last batch may be smaller than the others."""
    return math.ceil(images / train.batch_size)


def total_steps(train: TrainSpec, images: int) -> int:
    """Optimizer steps of the whole budget."""
    return int(min(max_steps(train), max_epochs(train) * steps_per_epoch(train, images)))


@dataclass(frozen=True)
class Every:
    """Every so many epochs, or steps; in any case also at the end of the run, which the caller knows."""

    count: int
    steps: bool = False
    """Whether `count` is of steps, which may lie within an epoch."""
    first: bool = False
    """Also at the end of the first epoch."""

    def at_end(self, epoch: int, step: int) -> bool:
        """Whether it is due at the end of that epoch."""
        return (step if self.steps else epoch) % self.count == 0 or (self.first and epoch == 1)

    def within(self, step: int) -> bool:
        """Whether it is due at that step within an epoch."""
        return self.steps and step % self.count == 0

    def times(self, epochs: int, steps: int) -> int:
        """How often in a run of so many epochs and steps."""
        last = steps if self.steps else epochs
        return -(-last // self.count) + (self.first and self.count > 1 and epochs > 1)


@dataclass(frozen=True)
class Pacing:
    """What is due when in a run of one spec."""

    steps: int
    """Of the whole budget."""
    per_epoch: int
    """Steps of a whole pass."""
    evaluation: Every
    grid: Every | None
    """None: no pictures at all."""
    save_steps: int | None
    """Steps between the checkpoints within an epoch; None: there are none but before evaluations and grids."""

    @classmethod
    def of(cls, spec: Spec, images: int, table: Table) -> Pacing:
        """For so many training images."""
        evaluate = spec.evaluate
        steps = evaluate.every_steps is not None
        if evaluate.grid == 0:
            grid = None
        elif evaluate.grid_every is not None:
            grid = Every(evaluate.grid_every, steps)
        else:
            drawing = evaluate.grid * passes_per_image(spec, table)
            grid = Every(
                max(1, math.ceil(PER_GRID * drawing / (passes_per_trained_image(spec) * images))), first=True
            )
        return cls(
            total_steps(spec.train, images),
            steps_per_epoch(spec.train, images),
            Every(evaluate.every_steps or evaluate.every_epochs, steps),
            grid,
            spec.train.checkpoint_every_steps,
        )

    @property
    def epochs(self) -> int:
        """Of the whole budget; the last one may be a part of a pass."""
        return math.ceil(self.steps / self.per_epoch)

    @property
    def evaluations(self) -> int:
        return self.evaluation.times(self.epochs, self.steps)

    @property
    def evaluations_at_ends(self) -> int:
        """Those that an epoch's own validation serves."""
        if not self.evaluation.steps:
            return self.evaluations
        both = math.lcm(self.evaluation.count, self.per_epoch)
        return -(-self.steps // both)

    @property
    def grids(self) -> int:
        return 0 if self.grid is None else self.grid.times(self.epochs, self.steps)

    @property
    def checkpoints(self) -> int:
        """How often one is written: at each epoch's end, and before what is due within one."""
        wanted = [
            self.save_steps,
            *(every.count for every in (self.evaluation, self.grid) if every is not None and every.steps),
        ]
        counts = [count for count in wanted if count is not None]
        stride = math.gcd(*counts)
        within = range(stride, self.steps, stride) if counts else ()
        return self.epochs + sum(
            any(step % count == 0 for count in counts) for step in within if step % self.per_epoch
        )


def passes_per_trained_image(spec: Spec) -> float:
    """What training on an image costs, in passes of an image through the network; half of the steps may predict x_0 first."""
    return BACKWARD + (0.5 if spec.model.self_conditioned else 0.0)


def passes_per_image(spec: Spec, table: Table) -> int:
    """How often the network runs to draw an image by `evaluate.sampler`: twice a row where it is guided."""
    plan = spec.evaluate.sampler.plan(table, spec.prediction)
    guidance = spec.guidance
    if not spec.model.conditional or guidance.weight == 1 or (guidance.weight == 0 and guidance.rescale == 0):
        return plan.evaluations
    if guidance.interval is None:
        return 2 * plan.evaluations
    log_snr = table.log_snr_at(torch.tensor([row.t for row in plan if row.evaluates], dtype=torch.float64))
    return plan.evaluations + int(
        ((guidance.interval[0] <= log_snr) & (log_snr < guidance.interval[1])).sum()
    )
