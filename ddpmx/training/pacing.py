"""When a run evaluates, samples a grid and saves.

All depends on its epochs and steps only, so a resumed run does the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..schedules import Table
from ..spec.schema import Spec, TrainSpec

PASSES_PER_TRAINED_IMAGE = 3
"""Cost of training on an image, in forward passes of one."""
TRAINING_PER_GRID = 4
"""Least ratio of the training between two grids to the work of a grid, if the spec sets no pace."""


def max_epochs(train: TrainSpec) -> float:
    """The budget in epochs: infinite if only `steps` is set, 100 if neither is."""
    return train.epochs or (math.inf if train.steps else 100)


def max_steps(train: TrainSpec) -> float:
    """The budget in steps: infinite if `steps` is not set."""
    return train.steps or math.inf


def steps_per_epoch(train: TrainSpec, images: int) -> int:
    """Optimizer steps of one pass over the images; the last batch may be smaller than the others."""
    return math.ceil(images / train.batch_size)


def total_steps(train: TrainSpec, images: int) -> int:
    """Optimizer steps of the whole budget."""
    return int(min(max_steps(train), max_epochs(train) * steps_per_epoch(train, images)))


@dataclass(frozen=True)
class Every:
    """Something due every `count` epochs or steps, and at the end of the run, which the caller checks."""

    count: int
    """Epochs or steps from one time to the next."""
    steps: bool = False
    """Whether `count` is a number of steps, which may end within an epoch."""
    first: bool = False
    """Whether it is also due at the end of the first epoch."""

    def due_at_epoch_end(self, epoch: int, step: int) -> bool:
        """Whether it is due at the end of an epoch; both are counted from 1."""
        return (step if self.steps else epoch) % self.count == 0 or (self.first and epoch == 1)

    def due_within_epoch(self, step: int) -> bool:
        """Whether it is due at a step before the end of its epoch, counted from 1."""
        return self.steps and step % self.count == 0

    def count_in_run(self, epochs: int, steps: int) -> int:
        """How often it is due in a run of this many epochs and steps."""
        total = steps if self.steps else epochs
        return -(-total // self.count) + (self.first and self.count > 1 and epochs > 1)


@dataclass(frozen=True)
class Pacing:
    """The schedule of a run's evaluations, grids and checkpoints."""

    steps: int
    """Optimizer steps of the whole budget."""
    per_epoch: int
    """Steps of a whole pass over the images."""
    evaluation: Every
    """When the metrics are measured."""
    grid: Every | None
    """When a grid of images is sampled; None: never."""
    save_steps: int | None
    """Steps between checkpoints within an epoch; None: such checkpoints are saved only before evaluations and
    grids."""

    @classmethod
    def from_spec(cls, spec: Spec, images: int, table: Table) -> Pacing:
        """The pacing of a spec with this many training images."""
        evaluate = spec.evaluate
        steps = evaluate.every_steps is not None
        if evaluate.grid == 0:
            grid = None
        elif evaluate.grid_every is not None:
            grid = Every(evaluate.grid_every, steps)
        else:
            # the epochs whose training costs at least TRAINING_PER_GRID times as much as a grid
            grid_passes = evaluate.grid * passes_per_image(spec, table)
            epoch_passes = passes_per_trained_image(spec) * images
            grid = Every(max(1, math.ceil(TRAINING_PER_GRID * grid_passes / epoch_passes)), first=True)
        return cls(
            total_steps(spec.train, images),
            steps_per_epoch(spec.train, images),
            Every(evaluate.every_steps or evaluate.every_epochs, steps),
            grid,
            spec.train.checkpoint_every_steps,
        )

    @property
    def epochs(self) -> int:
        """Epochs of the whole budget; the last one may be only a part of a pass."""
        return math.ceil(self.steps / self.per_epoch)

    @property
    def evaluations(self) -> int:
        """Number of evaluations in the run."""
        return self.evaluation.count_in_run(self.epochs, self.steps)

    @property
    def evaluations_at_epoch_ends(self) -> int:
        """Number of evaluations at the end of an epoch, which need no validation of their own."""
        if not self.evaluation.steps:
            return self.evaluations
        common = math.lcm(self.evaluation.count, self.per_epoch)
        return -(-self.steps // common)

    @property
    def grids(self) -> int:
        """Number of grids in the run."""
        return 0 if self.grid is None else self.grid.count_in_run(self.epochs, self.steps)

    @property
    def checkpoints(self) -> int:
        """Number of checkpoints in the run: at each epoch's end, and before whatever is due within one."""
        candidates = [
            self.save_steps,
            *(every.count for every in (self.evaluation, self.grid) if every is not None and every.steps),
        ]
        counts = [count for count in candidates if count is not None]
        stride = math.gcd(*counts)
        steps = range(stride, self.steps, stride) if counts else ()
        return self.epochs + sum(
            any(step % count == 0 for count in counts) for step in steps if step % self.per_epoch
        )


def passes_per_trained_image(spec: Spec) -> float:
    """Cost of training on an image, in forward passes.

    A self-conditioned network runs twice in half of the steps.
    """
    return PASSES_PER_TRAINED_IMAGE + (0.5 if spec.model.self_conditioned else 0.0)


def passes_per_image(spec: Spec, table: Table) -> int:
    """Forward passes to generate an image with `evaluate.sampler`: two for each guided evaluation."""
    plan = spec.evaluate.sampler.plan(table, spec.prediction)
    guidance = spec.guidance
    if not spec.model.conditional or guidance.weight == 1 or (guidance.weight == 0 and guidance.rescale == 0):
        return plan.evaluations
    if guidance.interval is None:
        return 2 * plan.evaluations
    low, high = guidance.interval
    log_snr = table.log_snr_at(torch.tensor([row.t for row in plan if row.evaluates], dtype=torch.float64))
    return plan.evaluations + int(((low <= log_snr) & (log_snr < high)).sum())
