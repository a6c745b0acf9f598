"""The training loop. It yields events; saving, sampling and printing are up to the caller.

The order of the images is a function of (seed, epoch), and all that `objective.py` draws is a function of
(seed, step or epoch, image id).
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
from .stability import MAX_SKIPPED, BadStep, BadStepFacts, Diverged, verdict
from .state import Trained, TrainState, is_over
from .step import StepPlan, StepResult, Trainer
from .validation import Validated, validate


@dataclass(frozen=True)
class StepDone:
    """A step that has changed the weights."""

    epoch: int
    """Epoch, counted from 1."""
    step: int
    """Step, counted from 1."""
    images: int
    """Training images seen so far."""
    loss: float
    """The batch's mean objective."""
    lr: float
    """Learning rate of the step."""
    grad_norm: float
    """Norm of the gradient before clipping."""


@dataclass(frozen=True)
class Skipped:
    """A step that was not finite: its batch is skipped, and the weights are unchanged."""

    epoch: int
    """Epoch, counted from 1."""
    step: int
    """Step, counted from 1."""
    facts: BadStepFacts
    """Facts that help to find the cause."""


@dataclass(frozen=True)
class EpochDone:
    """The end of an epoch, whose row is in the state."""

    epoch: int
    """Epoch, counted from 1."""
    step: int
    """Its last step, counted from 1."""
    train_loss: float
    """Mean objective of the epoch's steps; NaN if all were skipped."""
    val_loss: float
    """Mean loss of the validation images."""
    validated: Validated
    """The validation losses."""


def train(
    experiment: Experiment, state: TrainState, trained: Trained, world: World, stop: Callable[[], bool]
) -> Iterator[StepDone | Skipped | EpochDone]:
    """Train until the budget is spent, patience runs out or `stop()`; `state` is up to date at each yield.

    Raises Diverged if the loss or the gradient is not finite, before the weights change. With `on_nan: skip`,
    this happens only after too many such steps in a row.
    """
    spec, device, images = experiment.spec, experiment.device, len(experiment.data.train)
    if device.type == "cpu":
        keep_memory()
    pacing, trainer = Pacing.from_spec(spec, images, experiment.table), Trainer(experiment, trained, world)

    # the second condition: the run was stopped after its last step and before its validation
    while not is_over(spec.train, state) or state.row.get("step", 0) != state.step:
        # the steps of a pass
        order = epoch_order(images, spec.seed, state.epoch)
        trained.network.train()
        while state.batch < pacing.per_epoch and state.step < pacing.steps:
            started = time.perf_counter()
            plan = trainer.plan(state, order)
            result = trainer.take(plan)
            if result.is_finite:
                event: StepDone | Skipped = record_step(trainer, state, plan, result)
            else:
                event = skip_step(trainer, state, plan, result)
            state.seconds += time.perf_counter() - started
            yield event
            if world.any(stop(), device):
                return

        # the end of the pass
        validated = validate(
            experiment, trained.averaged, world, bits=evaluation_may_be_due(spec, state, pacing)
        )
        end_epoch(state, validated, pacing, learned_weighting=trained.weighting is not None)
        row = state.row
        yield EpochDone(row["epoch"], row["step"], row["train_loss"], row["val_loss"], validated)


def epoch_order(images: int, seed: int, epoch: int) -> Tensor:
    """A permutation of the image ids, int64 [images], that depends on seed and epoch only."""
    return ops.bits(torch.arange(images), stream(Purpose.ORDER, epoch), seed).argsort(stable=True)


def record_step(trainer: Trainer, state: TrainState, plan: StepPlan, result: StepResult) -> StepDone:
    """Record a step that has changed the weights, also in a time distribution that learns from losses."""
    if trainer.trained.time is not None:
        trainer.trained.time.update(plan.draws.t, trainer.world.sum_(result.losses).cpu())
    state.count_step(len(plan.ids), plan.scheduled_lr)
    state.add_loss(result.loss, len(plan.ids), plan.zero_loss)
    return StepDone(state.epoch + 1, state.step, state.images, result.loss, plan.lr, result.grad_norm)


def skip_step(trainer: Trainer, state: TrainState, plan: StepPlan, result: StepResult) -> Skipped:
    """Skip a step whose loss or gradient is not finite.

    Raises Diverged if the spec does not skip such steps, or if too many have been skipped in a row.
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
    if state.skipped == MAX_SKIPPED:
        raise Diverged(facts, f", and {MAX_SKIPPED} batches before it were skipped")
    state.count_step(len(plan.ids), plan.scheduled_lr)
    state.skipped += 1
    return Skipped(state.epoch + 1, state.step, facts)


def evaluation_may_be_due(spec: Spec, state: TrainState, pacing: Pacing) -> bool:
    """Whether an evaluation is due after the current pass, as far as is known before its validation.

    The validation may end patience, and with it the run.
    """
    after = replace(state, epoch=state.epoch + 1)
    return pacing.evaluation.due_at_epoch_end(after.epoch, after.step) or is_over(spec.train, after)


def end_epoch(state: TrainState, validated: Validated, pacing: Pacing, *, learned_weighting: bool) -> None:
    """Record the best loss and the row of the current pass; if the pass is whole, start the next one."""
    if validated.loss < state.best_loss:
        state.best_loss, state.best_step, state.best_epoch = validated.loss, state.step, state.epoch + 1
    state.row = {
        "epoch": state.epoch + 1,
        "step": state.step,
        "images": state.images,
        # NaN if all batches of the pass were skipped
        "train_loss": state.loss_sum / state.loss_count if state.loss_count else math.nan,
        "val_loss": validated.loss,
        "seconds": round(state.seconds, 3),
        "images_per_second": round(state.loss_count / state.seconds, 1),
    }
    diverged = verdict(
        stretch=state.stretch_loss,
        # a learned weighting's objective may be negative, so multiples of its lowest value mean nothing
        lowest_stretch=math.inf if learned_weighting else state.lowest_stretch,
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
