"""Runs a spec: trains its network, and saves, samples, measures and reports along the way."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from .. import ops
from ..errors import Interrupted, RunError
from ..images import grid
from ..metrics import Score
from ..outputs import check_folder
from ..process.stop import StopSignal
from ..spec.schema import Spec
from ..storage import checkpoint
from ..storage.folder import FINAL, RunFolder, status_now
from ..storage.provenance import ALLOW, DataRecord, refuse_changed
from ..terminal.console import Bar
from ..training.events import Event
from ..training.experiment import build
from ..training.loop import EpochDone, Skipped, StepDone, train
from ..training.stability import Diverged, bad_step_message
from ..training.state import is_over
from ..training.validation import Validated, validate
from ..world import World
from .active_run import ActiveRun
from .after_training import final_weights, measure_grid
from .closing import carry_out, report
from .forecast import Forecast
from .generate import Samples, denoising
from .measure import recorded, store_losses
from .milestones import (
    Where,
    compute_scores,
    format_scores,
    generate_grid,
    plan_for,
    take_snapshot,
    within_epoch,
)
from .moments import in_words
from .preflight import notes
from .resume import Resume, find_previous, locked
from .starting import load_initial_weights, start

LOG_EVERY = 10
"""A `step` event goes into metrics.jsonl after every so many steps."""
STRIP_IMAGES, STRIP_FRAMES = 8, 10
"""Images of the denoising strip, and frames of each."""


def run(spec: Spec, *, out: Path, device: torch.device, resume: Resume | None = None) -> Path:
    """Train, sample, measure and report; returns the run's folder, a new one unless `resume` is given.

    Raises SpecError before anything is written, RunError when the run fails and Interrupted when the user
    stops it. After RunError and Interrupted, `--resume` can resume the run from its folder.
    """
    with ExitStack() as stack:
        world = stack.enter_context(World.joined(device))
        bar = stack.enter_context(Bar(quiet=not world.is_main))
        previous = find_previous(spec, out, resume.run) if resume and world.is_main else None
        if previous is None and world.is_main:
            check_folder(out / spec.name / "new", "--out", ours=lambda _: True)
        experiment = build(spec, device, training=True)
        present = DataRecord.from_data(experiment.data)
        if resume and previous is not None and not resume.allow_changed_data:
            hint = (
                f"add {ALLOW} to resume with the new data, omit --resume to start a new run, or name another"
                " one with --run"
            )
            refuse_changed(spec, RunFolder(previous), present, hint)
        load_initial_weights(experiment)
        stack.enter_context(ops.use_backend(spec.backend))
        stop = stack.enter_context(StopSignal())
        if world.is_main:
            bar.say(f"data: {experiment.data.summary()}")
            for note in notes(experiment):
                bar.say(f"note: {note}")
            if resume:
                nothing_found = "no unfinished run of this spec to resume; starting a new one"
                bar.say(f"resuming {previous}" if previous else nothing_found)
            folder = RunFolder.create(out, spec) if previous is None else RunFolder(previous)
            stack.enter_context(locked(folder.path))
        path = Path(world.text(str(folder.path) if world.is_main else "", device))
        try:
            active = start(experiment, RunFolder(path), world, stop, bar)
        except OSError as error:
            raise RunError(f"the run folder {path} cannot be written: {error}") from error
        carry_out(active, _train, finish)
    return path


def _train(active: ActiveRun) -> None:
    """Train to the end, rolling back where training diverges and the spec asks for it."""
    spec, state = active.experiment.spec, active.state
    row_is_missing = active.world.is_main and bool(state.row) and state.row["step"] not in active.epoch_ends
    if active.world.any(row_is_missing, active.experiment.device) and (
        state.batch == 0 or is_over(spec.train, state)
    ):
        # the previous process was killed between the checkpoint and its row
        _end_epoch(active, validate(active.experiment, active.trained.averaged, active.world))
    if spec.train.on_nan == "rollback" and state.step == 0:
        active.save()  # the first checkpoint to roll back to
    while True:
        try:
            _train_epochs(active)
            return
        except Diverged as cause:
            if spec.train.on_nan != "rollback" or not active.roll_back(cause):
                state = active.state
                active.emit(
                    {
                        "event": "diverged",
                        "action": "stop",
                        "epoch": state.epoch + 1,
                        "step": state.step + 1,
                        **cause.facts,
                    }
                )
                raise


def _train_epochs(active: ActiveRun) -> None:
    """Log, save and print the events of the training loop, until it ends, is stopped or diverges."""
    state, total, epochs = active.state, active.pacing.steps, active.pacing.epochs
    within_epoch(
        active
    )  # the previous process may have been killed after a checkpoint, before what was due there
    forecast = Forecast(active.experiment, active.pacing, state.step, state.seconds)
    for event in train(active.experiment, state, active.trained, active.world, active.stop):
        if isinstance(event, StepDone):
            if event.step % LOG_EVERY == 0 or event.step == total:
                active.emit({"event": "step", **asdict(event)})
            speed = state.loss_count / state.seconds
            active.bar.show(
                "train",
                event.step,
                total,
                f"loss {event.loss:.4f}  {speed:,.0f} images/s  epoch {event.epoch}/{epochs}",
            )
        elif isinstance(event, Skipped):
            active.emit(
                {
                    "event": "diverged",
                    "action": "skip",
                    "epoch": event.epoch,
                    "step": event.step,
                    **event.facts,
                }
            )
            active.bar.say(f"warning: step {event.step} skipped its batch: {bad_step_message(event.facts)}")
        active.write_plots()
        if isinstance(event, EpochDone):
            active.save()
            _end_epoch(active, event.validated)
        else:
            take_snapshot(active)
            if active.world.is_main and (line := forecast.update(state)):
                active.bar.say(line)
            within_epoch(active)
    if state.row.get("step") != state.step:  # stopped within an epoch
        active.save()
        raise Interrupted("stopped on request")


def _end_epoch(active: ActiveRun, validated: Validated) -> None:
    """Generate the epoch's grid and compute metrics if they are due, then write the epoch's row."""
    experiment, spec, row = active.experiment, active.experiment.spec, active.state.row
    pacing, over = active.pacing, is_over(spec.train, active.state)
    where: Where = {"epoch": row["epoch"], "step": row["step"]}
    if pacing.grid is not None and (over or pacing.grid.due_at_epoch_end(row["epoch"], row["step"])):
        generate_grid(active, f"epoch-{row['epoch']:04d}.png", spec.evaluate.sampler, active.averaged, where)
    paced = pacing.evaluation.due_at_epoch_end(row["epoch"], row["step"])
    due = over or paced
    scores: dict[str, Score] = {}
    if spec.evaluate.metrics and (paced or (over and spec.weights.is_own)):  # `finish` measures other weights
        scores = compute_scores(active)
    if due:
        active.emit({"event": "per_t", **where, **validated.by_timestep(experiment)})
    event: Event = {"event": "epoch", **row}
    event |= recorded(experiment, scores, active.folder.path, row["step"], training=True)
    if active.problems and due:
        event["problems"] = active.problems
    active.add_row(event)
    active.epoch_ends[row["step"]] = row["epoch"]
    if active.world.is_main and active.state.best_step == row["step"]:
        store_losses(active.folder.path, row["step"], validated)
    if active.world.is_main:
        best = "  (best)" if active.is_new_best() else ""
        active.bar.say(
            f"epoch {row['epoch']:>4}  step {row['step']:>7}  train {row['train_loss']:.4f}"
            f"  val {row['val_loss']:.4f}  {row['images_per_second']:.0f} images/s"
            f"{format_scores(event['metrics'])}{best}"
        )
        if active.just_became_unstable:
            active.bar.say(
                f"warning: {active.why}; the best weights are those of step {active.state.best_step}"
            )


def finish(active: ActiveRun) -> None:
    """Generate the final images with the spec's own sampler and weights, and write the report.

    The run counts as finished only after this, so if it is killed here, `--resume` does what is missing.
    """
    state, network = active.state, active.averaged
    if active.world.is_main:
        checkpoint.load_weights(network, final_weights(active))
    for tensor in (*network.parameters(), *network.buffers()):
        active.world.from_main(tensor.data)
    if active.pacing.grid is not None:
        _generate_final_images(active, network)
    measure_grid(active)
    if active.world.is_main:
        if state.best_step >= 0:
            active.bar.say(
                f"best: epoch {state.best_epoch}, step {state.best_step}, val {state.best_loss:.4f}"
            )
        if active.why and not active.just_became_unstable:
            active.warn(active.why)
        report(active, status_now("finished", active.problem_summary, epoch=state.epoch, step=state.step))


def _generate_final_images(active: ActiveRun, network: nn.Module) -> None:
    """Write samples/final.png and samples/denoising.png."""
    experiment, row = active.experiment, active.state.row
    generate_grid(
        active,
        Path(FINAL).name,
        experiment.spec.sampler,
        network,
        {"epoch": row["epoch"], "step": row["step"]},
    )
    plan = plan_for(active, network, experiment.spec.sampler)
    if active.world.is_main:
        if plan.error is not None:
            active.bar.say(
                f"the variances of {experiment.spec.sampler.component_name} {in_words(plan.error)}"
            )
        strip = Samples(STRIP_IMAGES, experiment.spec.evaluate.seed)
        frames = denoising(experiment, network, plan, strip, frames=STRIP_FRAMES)
        grid(frames.pixels.transpose(0, 1).flatten(0, 1), columns=len(frames.pixels)).save(
            active.folder.samples / "denoising.png"
        )
        if frames.problem:
            active.warn(f"in samples/denoising.png {frames.problem}")
