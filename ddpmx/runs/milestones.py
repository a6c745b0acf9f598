"""What a run draws and measures at steps within an epoch, and how it draws a grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from torch import nn

from ..images import class_grid
from ..metrics import Score
from ..samplers import Sampler
from ..training.events import Event
from ..training.state import is_over
from ..training.validation import validate
from .evaluate import as_event, measure
from .generate import Samples, generate
from .session import Session


class Where(TypedDict):
    """When in training something was drawn or measured."""

    epoch: int
    step: int
    passes: NotRequired[float]
    """Over the training images, within an epoch."""


def within_epoch(session: Session) -> None:
    """Save, draw and measure what is due at the step reached and not in the log yet; nothing where an epoch ends.

    The checkpoint comes first: whatever stops the run meanwhile, a resumed one makes the rest.
    """
    state, pacing = session.state, session.pacing
    if state.batch in (0, pacing.per_epoch) or is_over(session.experiment.spec.train, state):
        return
    kinds = ["samples"] if pacing.grid is not None and pacing.grid.due_within_epoch(state.step) else []
    kinds += ["per_t", "evaluate"] if pacing.evaluation.due_within_epoch(state.step) else []
    due = [kind for kind in kinds if session.lacks(kind)]
    if due or (pacing.save_steps is not None and state.step % pacing.save_steps == 0):
        session.save()
    where: Where = {
        "epoch": state.epoch + 1,
        "step": state.step,
        "passes": state.epoch + state.batch / pacing.per_epoch,
    }
    if "samples" in due:
        sampler = session.experiment.spec.evaluate.sampler
        draw_grid(session, f"step-{state.step:07d}.png", sampler, session.averaged, where)
    if "evaluate" in due:
        _evaluate(session, where, "per_t" in due)
    session.trained.network.train()


def _evaluate(session: Session, where: Where, by_timestep: bool) -> None:
    """The validation loss, how it lies over the timesteps, and the metrics, of the averaged weights as they are."""
    experiment, state = session.experiment, session.state
    validated = validate(experiment, session.averaged, session.world)
    if by_timestep:
        session.emit({"event": "per_t", **where, **validated.by_timestep(experiment)})
    scores = scored(session)
    train_loss = state.loss_sum / state.loss_count if state.loss_count else None
    losses = {"images": state.images, "train_loss": train_loss, "val_loss": validated.loss}
    event: Event = {"event": "evaluate", **where, **losses, **as_event(scores)}
    if session.problems:
        event["problems"] = session.problems
    session.add_row(event)
    if session.world.is_main:
        train = "" if train_loss is None else f"train {train_loss:.4f}  "
        told = f"{train}val {validated.loss:.4f}  within the epoch{in_a_line(scores)}"
        session.bar.say(f"epoch {where['epoch']:>4}  step {state.step:>7}  {told}")


def in_a_line(scores: Mapping[str, Score]) -> str:
    """The scores as the terminal shows them, behind the losses."""
    return "".join(f"  {name} {score.value:.4g}" for name, score in scores.items())


def scored(session: Session) -> dict[str, Score]:
    """The metrics of the averaged weights as they are; the session's `problems` say why some are missing."""
    session.problems = []
    return measure(
        session.experiment,
        session.averaged,
        session.miss,
        world=session.world,
        progress=session.progress,
        folder=session.folder.path,
    )


def draw_grid(session: Session, name: str, sampler: Sampler, network: nn.Module, where: Where) -> None:
    """Draw the grid `samples/<name>` and log it as of `where`."""
    evaluate = session.experiment.spec.evaluate
    generated = generate(
        session.experiment,
        network,
        sampler.plan(session.experiment.table, session.experiment.prediction),
        Samples(evaluate.grid, evaluate.seed),
        batch_size=evaluate.batch_size,
        world=session.world,
        progress=lambda done, total: session.progress("sample", done, total),
    )
    if session.world.is_main:
        path: Path = session.folder.samples / name
        class_grid(generated.pixels, session.experiment.spread(evaluate.grid)).save(path)
        session.bar.foot(f"samples: {path}")
    if generated.problem:
        session.warn(f"in samples/{name} {generated.problem}")
    session.emit({"event": "samples", **where, "path": f"samples/{name}"})
