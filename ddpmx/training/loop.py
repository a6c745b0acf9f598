"""The training loop, which yields what happened; saving, sampling and printing are the caller's.

The order of the images is a function of (seed, epoch), as everything that `objective.py` draws is of (seed, step or epoch, image id).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .. import ops
from ..ops import Purpose, stream
from ..process.allocator import keep_memory
from ..spec.schema import Spec
from ..world import World
from .experiment import Experiment
from .pacing import Pacing
from .stability import MOST_SKIPPED, BadStep, BadStepFacts, Diverged, verdict
from .state import Trained, TrainState, is_over
from .step import StepPlan, StepResult, Trainer
from .validation import Validated, validate


@dataclass(frozen=True)
class StepDone:
    epoch: int
    step: int
    images: int
    loss: float
    lr: float
    grad_norm: float


@dataclass(frozen=True)
class Skipped:
    """A step that left its batch out and changed no weights."""

    epoch: int
    step: int
    facts: BadStepFacts


@dataclass(frozen=True)
class EpochDone:
    """The end of a pass, whose row is in the state."""

    validated: Validated


def train(
    experiment: Experiment, state: TrainState, trained: Trained, world: World, stop: Callable[[], bool]
) -> Iterator[StepDone | Skipped | EpochDone]:
    """Train until the budget is spent, patience ends or `stop()`; `state` is up to date at each yield.

    Raises Diverged when the loss or the gradient is not finite, before the weights are touched; with `on_nan: skip` only when there
    are too many such steps in a row.
    """
    spec, device, images = experiment.spec, experiment.device, len(experiment.data.train)
    if device.type == "cpu":
        keep_memory()
    pacing, trainer = Pacing.of(spec, images, experiment.table), Trainer(experiment, trained, world)

    while (
        not is_over(spec.train, state) or state.row.get("step", 0) != state.step
    ):  # or stopped before its validation
        # the steps of a pass
        order = epoch_order(images, spec.seed, state.epoch)
        trained.network.train()
        while state.batch < pacing.per_epoch and state.step < pacing.steps:
            started = time.perf_counter()
            plan = trainer.plan(state, order)
            result = trainer.take(plan)
            if result.is_finite:
                event: StepDone | Skipped = count_step(trainer, state, plan, result)
            else:
                event = leave_out(trainer, state, plan, result)
            state.seconds += time.perf_counter() - started
            yield event
            if world.any(stop(), device):
                return

        # its end
        validated = validate(experiment, trained.averaged, world, bits=may_evaluate(spec, state, pacing))
        end_epoch(state, validated, pacing, learned_weighting=trained.weighting is not None)
        yield EpochDone(validated)


def epoch_order(images: int, seed: int, epoch: int) -> Tensor:
    """A permutation of the image ids, int64 [images], that depends on seed and epoch only."""
    return ops.bits(torch.arange(images), stream(Purpose.ORDER, epoch), seed).argsort(stable=True)


def count_step(trainer: Trainer, state: TrainState, plan: StepPlan, result: StepResult) -> StepDone:
    """Take in a step that has changed the weights: its loss, and those of its images for a time that learns from them."""
    if trainer.trained.time is not None:
        trainer.trained.time.update(plan.draws.t, trainer.world.sum_(result.losses).cpu())
    state.count_step(len(plan.ids), plan.scheduled_lr)
    state.add_loss(result.loss, len(plan.ids), plan.zero_loss)
    return StepDone(state.epoch + 1, state.step, state.images, result.loss, plan.lr, result.grad_norm)


def leave_out(trainer: Trainer, state: TrainState, plan: StepPlan, result: StepResult) -> Skipped:
    """Go past a step whose loss or gradient is not finite, which has changed no weights.

    Raises Diverged unless the spec skips such steps, and where too many have been skipped in a row.
    """
    experiment = trainer.experiment
    bad = BadStep(
        plan.ids, plan.draws.t, trainer.world.sum_(result.losses).cpu(), result.loss, result.grad_norm
    )
    facts = bad.facts(
        plan.step + 1, experiment.table.timesteps, experiment.coefficients.weight.cpu(), trainer.parameters
    )
    if experiment.spec.train.on_nan != "skip":
        raise Diverged(facts)
    if state.skipped == MOST_SKIPPED:
        raise Diverged(facts, f", and {MOST_SKIPPED} batches before it are left out")
    state.count_step(len(plan.ids), plan.scheduled_lr)
    state.skipped += 1
    return Skipped(state.epoch + 1, state.step, facts)


def may_evaluate(spec: Spec, state: TrainState, pacing: Pacing) -> bool:
    """Whether an evaluation is due after the pass under way, as far as is known before its validation, which may end patience."""
    after = replace(state, epoch=state.epoch + 1)
    return pacing.evaluation.at_end(after.epoch, after.step) or is_over(spec.train, after)


def end_epoch(state: TrainState, validated: Validated, pacing: Pacing, *, learned_weighting: bool) -> None:
    """Note the best loss and write the row of the pass under way; where it is whole, start the next one."""
    if validated.loss < state.best_loss:
        state.best_loss, state.best_step, state.best_epoch = validated.loss, state.step, state.epoch + 1
    state.row = {
        "epoch": state.epoch + 1,
        "step": state.step,
        "images": state.images,
        "train_loss": state.loss_sum / state.loss_count
        if state.loss_count
        else math.nan,  # all of its batches were left out
        "val_loss": validated.loss,
        "seconds": round(state.seconds, 3),
        "images_per_second": round(state.loss_count / state.seconds, 1),
    }
    diverged = verdict(
        stretch=state.stretch_loss,
        lowest_stretch=math.inf
        if learned_weighting
        else state.lowest_stretch,  # with its u a loss may be below 0
        validation=validated.loss,
        lowest_validation=state.best_loss,
    )
    if diverged:
        state.row["verdict"] = diverged
    unstable = None if learned_weighting else state.instability(state.step, bool(diverged))
    if unstable:
        state.row["unstable"] = unstable
    if state.batch == pacing.per_epoch:
        state.count_epoch()
