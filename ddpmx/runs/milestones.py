"""The grids, evaluations and snapshots of a run, and those of them that are due within an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from torch import nn

from ..images import class_grid
from ..metrics import Score
from ..rows import Plan
from ..samplers import Sampler
from ..storage import snapshots
from ..training.events import Event
from ..training.state import is_over
from ..training.validation import validate
from .active_run import ActiveRun
from .generate import Samples, generate
from .measure import measure, recorded
from .moments import Network


class Where(TypedDict):
    """The point of training at which something was sampled or measured."""

    epoch: int
    """The epoch's number, from 1."""
    step: int
    """Training steps taken."""
    passes: NotRequired[float]
    """Passes over the training images so far; only given within an epoch."""


def take_snapshot(active: ActiveRun) -> None:
    """Write a snapshot of the moving averages if one is due at the current step.

    Called before the step's checkpoint, so that a resumed run lacks none.
    """
    averages, step = active.trained.ema, active.state.step
    if averages is not None and active.world.is_main and step in averages.ema.kept(step):
        snapshots.save(active.folder.snapshots, step, averages)


def within_epoch(active: ActiveRun) -> None:
    """Save, sample and evaluate what is due at the current step and not logged yet, within an epoch only.

    The checkpoint comes first, so that a run that is stopped meanwhile does the rest when it is resumed.
    """
    state, pacing = active.state, active.pacing
    if state.batch in (0, pacing.per_epoch) or is_over(active.experiment.spec.train, state):
        return
    kinds = ["samples"] if pacing.grid is not None and pacing.grid.due_within_epoch(state.step) else []
    kinds += ["per_t", "evaluate"] if pacing.evaluation.due_within_epoch(state.step) else []
    due = [kind for kind in kinds if active.is_missing(kind)]
    if due or (pacing.save_steps is not None and state.step % pacing.save_steps == 0):
        active.save()
    where: Where = {
        "epoch": state.epoch + 1,
        "step": state.step,
        "passes": state.epoch + state.batch / pacing.per_epoch,
    }
    if "samples" in due:
        sampler = active.experiment.spec.evaluate.sampler
        generate_grid(active, f"step-{state.step:07d}.png", sampler, active.averaged, where)
    if "evaluate" in due:
        _evaluate(active, where, "per_t" in due)
    active.trained.network.train()


def _evaluate(active: ActiveRun, where: Where, by_timestep: bool) -> None:
    """Log the averaged network's validation loss, its distribution over timesteps, and the metrics."""
    experiment, state = active.experiment, active.state
    validated = validate(experiment, active.averaged, active.world)
    if by_timestep:
        active.emit({"event": "per_t", **where, **validated.by_timestep(experiment)})
    scores = compute_scores(active)
    train_loss = state.loss_sum / state.loss_count if state.loss_count else None
    losses = {"images": state.images, "train_loss": train_loss, "val_loss": validated.loss}
    event: Event = {"event": "evaluate", **where, **losses}
    event |= recorded(experiment, scores, active.folder.path, state.step, training=True)
    if active.problems:
        event["problems"] = active.problems
    active.add_row(event)
    if active.world.is_main:
        train = "" if train_loss is None else f"train {train_loss:.4f}  "
        results = f"{train}val {validated.loss:.4f}  within the epoch{format_scores(event['metrics'])}"
        active.bar.say(f"epoch {where['epoch']:>4}  step {state.step:>7}  {results}")


def format_scores(values: Mapping[str, float]) -> str:
    """The scores' values as the terminal shows them, after the losses."""
    return "".join(f"  {name} {value:.4g}" for name, value in values.items())


def compute_scores(active: ActiveRun) -> dict[str, Score]:
    """Compute the metrics of the averaged network; `active.problems` then says why any are missing."""
    active.problems = []
    return measure(
        active.experiment,
        active.averaged,
        active.report_problem,
        world=active.world,
        progress=active.progress,
        folder=active.folder.path,
    )


def generate_grid(active: ActiveRun, name: str, sampler: Sampler, network: nn.Module, where: Where) -> None:
    """Generate the grid `samples/<name>` and log it with the position `where`."""
    evaluate, plan = active.experiment.spec.evaluate, plan_for(active, network, sampler)
    generated = generate(
        active.experiment,
        network,
        plan,
        Samples(evaluate.grid, evaluate.seed),
        batch_size=evaluate.batch_size,
        world=active.world,
        progress=lambda done, total: active.progress("sample", done, total),
    )
    if active.world.is_main:
        path: Path = active.folder.samples / name
        class_grid(generated.pixels, active.experiment.spread(evaluate.grid)).save(path)
        active.bar.foot(f"samples: {path}")
    if generated.problem:
        active.warn(f"in samples/{name} {generated.problem}")
    estimated = {} if plan.error is None else {"variance_error": plan.error}
    active.emit({"event": "samples", **where, "path": f"samples/{name}", **estimated})


def plan_for(active: ActiveRun, network: nn.Module, sampler: Sampler) -> Plan:
    """The plan with which a network of the run samples."""
    run = active.folder.path
    return Network(active.experiment, network, run, active.world, active.progress).plan(sampler)
