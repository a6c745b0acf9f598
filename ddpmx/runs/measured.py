"""Measures a spec with the weights that a run of another spec has trained, instead of training them again."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch

from .. import ops
from ..errors import RunError
from ..process.stop import StopSignal
from ..spec.schema import Spec
from ..storage import checkpoint, checkpoint_folder, draws
from ..storage.folder import RunFolder
from ..storage.provenance import ALLOW, DataRecord, difference, refuse_changed
from ..storage.shared_training import SharedTraining
from ..terminal.console import Bar
from ..trackers import Trackers
from ..training.events import Event, Row
from ..training.experiment import build
from ..training.state import TrainState, prepare
from ..world import World
from .active_run import ActiveRun
from .closing import carry_out
from .measure import recorded
from .milestones import compute_scores, format_scores
from .preflight import evaluation_notes
from .resume import locked
from .run import finish
from .starting import write_environment

KEPT = ("event", *Row.__annotations__)
"""Keys of an `epoch` event that belong to the training, not to the evaluation after the epoch."""


def measure_with(
    spec: Spec,
    training: Path,
    *,
    out: Path,
    device: torch.device,
    previous: Path | None = None,
    allow_changed_data: bool = False,
) -> Path:
    """Measure the spec with the weights of the finished run `training`; returns the folder of the new run.

    That run has no checkpoints of its own. It has the epochs of the training, and its own metrics, samples
    and report, as a run of the spec would have at its end. `previous` is the run to complete, if this was
    begun before. Raises SpecError and RunError as `run` does, and Interrupted when the user stops it.
    """
    with ExitStack() as stack:
        world = stack.enter_context(World.joined(device))
        bar = stack.enter_context(Bar(quiet=not world.is_main))
        experiment = build(spec, device, training=True)
        if not allow_changed_data:
            present = DataRecord.from_data(experiment.data)
            refuse_changed(spec, RunFolder(training), present, f"add {ALLOW} to measure on the present data")
        stack.enter_context(ops.use_backend(spec.backend))
        stop = stack.enter_context(StopSignal())
        trained = prepare(experiment)
        state = checkpoint.load(_last(training), trained)
        folder: RunFolder | None = None
        if world.is_main:
            bar.say(f"{spec.name}: no training, measured with the weights of {training}")
            for note in evaluation_notes(experiment):
                bar.say(f"note: {note}")
            folder = _folder(spec, training, state, out=out, previous=previous)
            stack.enter_context(locked(folder.path))
        path = Path(world.text(str(folder.path) if folder else "", device))
        active = ActiveRun(experiment, RunFolder(path), Trackers(), world, stop, bar, trained, state)
        try:
            if world.is_main:
                _start(active, RunFolder(training))
        except OSError as error:
            raise RunError(f"the run folder {path} cannot be written: {error}") from error
        carry_out(active, _measure, finish)
    return path


def _last(training: Path) -> Path:
    """The last checkpoint of a training. Raises RunError if it has none."""
    last = checkpoint_folder.find(training / "checkpoints", "last")
    if last is None:
        raise RunError(f"{training} has no checkpoint, so nothing can be measured with its weights")
    return last


def _folder(spec: Spec, training: Path, state: TrainState, *, out: Path, previous: Path | None) -> RunFolder:
    """The run's folder: a new one, or `previous`, emptied if it was begun with another training."""
    seed = RunFolder(training).spec_data()["evaluate"]["seed"]
    if previous is None:
        return RunFolder.create(out, spec, lambda run: SharedTraining.of(training, run, state.step, seed))
    folder = RunFolder(previous)
    shared = SharedTraining.of(training, previous, state.step, seed)
    if folder.shared != shared:
        folder.log.cut(lambda event: False)
        shared.write(previous)
    return folder


def _start(active: ActiveRun, training: RunFolder) -> None:
    """Write the run's first files, and the epochs of the training into its log."""
    folder, spec = active.folder, active.experiment.spec
    resumed = folder.status() is not None
    folder.tidy()
    present = DataRecord.from_data(active.experiment.data)
    write_environment(folder, active.experiment, present, _data_before(training, present, active.state.step))
    folder.set_status("running", step=active.state.step)
    active.trackers = Trackers.open(spec.track, folder.path, spec.resolved(), resumed)
    if _is_measured(active):  # the log is complete up to there
        folder.log.cut(lambda event: event["event"] not in ("samples", "end"))
    else:
        folder.log.cut(lambda event: False)
        for event in training.events("epoch", "per_t", "diverged"):
            if event["step"] <= active.state.step:
                active.emit(_of_training(event))
        if losses := draws.read(training.path, f"{draws.FOLDER}/{draws.VAL_LOSS}"):
            draws.write(folder.path, draws.VAL_LOSS, losses)
    folder.rows.write()
    active.epoch_ends = {event["step"]: event["epoch"] for event in folder.events("epoch")}


def _of_training(event: Event) -> Event:
    """An event of the training without the results of the evaluation after an epoch."""
    if event["event"] != "epoch":
        return {"event": event["event"], **event}  # the log finds events by their first key
    return {**{key: event[key] for key in KEPT if key in event}, "metrics": {}}


def _data_before(training: RunFolder, present: DataRecord, step: int) -> dict[str, object]:
    """The entry of environment.json about data on which the weights were trained before, if there are any."""
    recorded = training.environment()
    written = recorded.get("data_before")
    before = list(written) if isinstance(written, list) else []
    if difference(training, present) and (old := DataRecord.parse(recorded.get("data"))) is not None:
        before.append({"until_step": step, **old.to_json()})
    return {"data_before": before} if before else {}


def _is_measured(active: ActiveRun) -> bool:
    """Whether the log has a measurement already, and so all of the training."""
    return next(active.folder.events("evaluate"), None) is not None


def _measure(active: ActiveRun) -> None:
    """Log the metrics of the last average, as a run does when its training ends.

    Not if a process that was killed after that has logged them, nor if the spec asks for other weights, which
    `finish` measures.
    """
    spec, state = active.experiment.spec, active.state
    wanted = bool(spec.evaluate.metrics) and spec.weights.is_own
    if not active.world.any(
        active.world.is_main and wanted and not _is_measured(active), active.experiment.device
    ):
        return
    scores = compute_scores(active)
    event: Event = {"event": "evaluate", "epoch": state.row["epoch"], "step": state.step}
    event |= recorded(active.experiment, scores, active.folder.path, state.step, training=True)
    if active.problems:
        event["problems"] = active.problems
    active.emit(event)
    if active.world.is_main:
        active.bar.say(f"{spec.name}{format_scores(event['metrics'])}")
