"""One run: a folder, the training loop, and what is saved, sampled, measured and said along the way."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import checkpoint, environment, ops
from .console import Bar
from .errors import Interrupted, RunError, SpecError
from .evaluate import as_event, measure
from .experiment import Experiment, build
from .generate import denoising, generate
from .images import class_grid, grid
from .metrics import Score
from .ops import library
from .plots import write_learned, write_plots
from .plugins import file_hash
from .preflight import findings
from .report import write_report
from .resume import find_previous, locked
from .run_folder import RunFolder, to_yaml, write_atomically
from .spec import Spec
from .stop import StopSignal
from .trackers import Trackers
from .train import EpochDone, StepDone, Trained, TrainState, is_over, prepare, steps_per_epoch, total_steps, train
from .validation import Validated, validate
from .world import World

LOG_EVERY = 10
"""Steps between the `step` events of metrics.jsonl."""


@dataclass
class Session:
    """All that a run under way holds."""

    experiment: Experiment
    folder: RunFolder
    trackers: Trackers
    world: World
    stop: StopSignal
    bar: Bar
    trained: Trained
    state: TrainState = field(default_factory=TrainState)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The finished epochs' events, what log.csv is made of."""
    started: float = field(default_factory=time.perf_counter)

    @property
    def averaged(self) -> nn.Module:
        """The network that validation, samples and metrics use."""
        return self.trained.averaged

    def emit(self, event: dict[str, Any]) -> None:
        """Into metrics.jsonl, then to the trackers that mirror it."""
        if self.world.is_main:
            self.folder.add_event(event)
            self.trackers.log(event)

    def progress(self, what: str, done: int, total: int) -> None:
        self.stop.check()
        self.bar.show(what, done, total)


def run(spec: Spec, *, out: Path, resume: bool, resume_from: Path | None, device: torch.device) -> Path:
    """Train, sample, measure and report; returns the run's folder.

    Raises SpecError before anything is written, RunError when the run fails and Interrupted when the user stops it; the
    last two leave a folder that `--resume` goes on with.
    """
    world = World.join(device)
    with ExitStack() as stack:
        stack.callback(world.leave)
        bar = stack.enter_context(Bar(quiet=not world.is_main))
        previous = find_previous(spec, out, resume_from) if resume and world.is_main else None
        experiment = build(spec, device)
        if spec.train.init_from is not None:
            with spec.blame("train.init_from"):
                checkpoint.load_weights(experiment.network, checkpoint.find_weights(Path(spec.train.init_from)))
        stack.enter_context(ops.use_backend(spec.backend))
        if world.is_main:
            for finding in findings(experiment):
                bar.say(f"note: {finding}")
            if resume:
                bar.say(f"going on with {previous}" if previous else "no unfinished run of this spec: starting anew")
            folder = RunFolder.create(out, spec) if previous is None else RunFolder(previous)
            stack.enter_context(locked(folder.path))
        path = Path(world.text(str(folder.path) if world.is_main else "", device))
        stop = stack.enter_context(StopSignal())
        session = _open(experiment, RunFolder(path), world, stop, bar)
        try:
            _train(session)
            _finish(session)
        except (Interrupted, KeyboardInterrupt):
            _close(session, "interrupted", "stopped on request")
            raise Interrupted(_what_is_saved(session, "interrupted")) from None
        except (RunError, SpecError, OSError, torch.OutOfMemoryError) as error:
            what = _what_is_saved(session, "failed")
            try:
                _close(session, "failed", str(error))
            except OSError as second:  # the disk is full, say
                what += f" Its status could not be written: {second}"
            raise RunError(f"{error}\n{what}") from error
        except Exception as error:  # a fault in ddpmx or a plugin: its traceback is for whoever mends it
            session.folder.set_status("failed", repr(error), step=session.state.step)
            raise
        _close(session, "finished")
    return path


def _open(experiment: Experiment, folder: RunFolder, world: World, stop: StopSignal, bar: Bar) -> Session:
    """Build what training needs, fill it from the last checkpoint if there is one, and write the run's first files."""
    spec, device = experiment.spec, experiment.device
    session = Session(experiment, folder, Trackers(), world, stop, bar, prepare(experiment))
    last = folder.checkpoints / "last"
    if last.exists():
        session.state = checkpoint.load(last, session.trained)
    if not world.is_main:
        return session
    resumed = bool(folder.read_json("status.json"))
    if resumed:
        folder.cut_after(session.state.step, session.state.epoch)
        resolved = {**spec.resolved(), "plugins": folder.spec_data()["plugins"]}
        write_atomically(folder.path / "spec.yaml", to_yaml(resolved))
        session.rows = [event for event in folder.events() if event["event"] == "epoch"]
    data = experiment.data
    folder.write_json(
        "environment.json",
        {
            **environment.describe(device, ops.active(device)),
            "cpu_level": library.cpu_level() if ops.active(device) == "cpp" else None,
            "data": {"name": data.name, "fingerprint": data.fingerprint, "classes": data.classes, **data.counts},
            "parameters": experiment.parameters,
            "plugins": {plugin: file_hash(Path(plugin)) for plugin in spec.plugins if plugin.endswith(".py")},
        },
    )
    folder.set_status("running", step=session.state.step)
    write_plots(folder.plots, spec)
    session.trackers = Trackers.open(spec.track, folder.path, spec.resolved(), resumed)
    return session


def _train(session: Session) -> None:
    """The loop's events, saved and shown."""
    spec, state = session.experiment.spec, session.state
    images = len(session.experiment.data.train)
    total = total_steps(spec.train, images)
    epochs = math.ceil(total / steps_per_epoch(spec.train, images))
    row_is_missing = bool(state.row) and (not session.rows or session.rows[-1]["step"] < state.row["step"])
    if row_is_missing and (state.batch == 0 or is_over(spec.train, state)):
        # the last process died between the checkpoint and the row
        _end_epoch(session, validate(session.experiment, session.trained.averaged, session.world))
    for event in train(session.experiment, state, session.trained, session.world, session.stop):
        if isinstance(event, StepDone):
            if event.step % LOG_EVERY == 0 or event.step == total:
                session.emit({"event": "step", **asdict(event)})
            speed = state.loss_count / state.seconds
            session.bar.show("train", event.step, total, f"loss {event.loss:.4f}  {speed:,.0f} images/s  epoch {event.epoch}/{epochs}")
        elif isinstance(event, EpochDone):
            _save(session)
            _end_epoch(session, event.validated)
    if not is_over(spec.train, state):
        _save(session)
        session.stop.check()


def _save(session: Session) -> None:
    if session.world.is_main:
        state, spec = session.state, session.experiment.spec.train
        checkpoint.save(session.folder.checkpoints, state, session.trained)
        ends = [(row["epoch"], str(row["step"])) for row in session.rows] + [(state.row.get("epoch", 0), str(state.step))]
        regular = [step for epoch, step in ends if epoch % spec.checkpoint_every == 0][-spec.keep_last :]
        forever = [step for epoch, step in ends if spec.keep_every is not None and epoch % spec.keep_every == 0]
        checkpoint.prune(session.folder.checkpoints, {*regular, *forever})


def _end_epoch(session: Session, validated: Validated) -> None:
    """Draw the epoch's grid, measure when it is due, and write the row."""
    experiment, spec, row = session.experiment, session.experiment.spec, session.state.row
    _draw_grid(session, f"epoch-{row['epoch']:04d}.png", spec.evaluate.sampler, session.averaged, row)
    due = row["epoch"] % spec.evaluate.every_epochs == 0 or is_over(spec.train, session.state)
    scores: dict[str, Score] = {}
    if spec.evaluate.metrics and due:
        scores = measure(experiment, session.averaged, world=session.world, progress=session.progress)
    if due:
        session.emit({"event": "per_t", "epoch": row["epoch"], "step": row["step"], **validated.by_timestep(experiment)})
    event = {"event": "epoch", **row, **as_event(scores)}
    session.emit(event)
    session.rows.append(event)
    if session.world.is_main:
        session.folder.write_log(session.rows)
        measured = "".join(f"  {name} {score.value:.4g}" for name, score in scores.items())
        grid_path = session.folder.samples / f"epoch-{row['epoch']:04d}.png"
        session.bar.foot(f"samples: {grid_path}")
        best = "  (best)" if session.state.best_step == row["step"] else ""
        session.bar.say(
            f"epoch {row['epoch']:>4}  step {row['step']:>7}  train {row['train_loss']:.4f}  val {row['val_loss']:.4f}"
            f"  {row['images_per_second']:.0f} images/s{measured}{best}"
        )


def _draw_grid(session: Session, name: str, sampler: Any, network: nn.Module, row: dict[str, Any]) -> None:
    evaluate = session.experiment.spec.evaluate
    images = generate(
        session.experiment,
        network,
        sampler.plan(session.experiment.table, session.experiment.prediction),
        evaluate.grid,
        seed=evaluate.seed,
        batch_size=evaluate.batch_size,
        world=session.world,
        progress=lambda done, total: session.progress("sample", done, total),
    )
    if session.world.is_main:
        class_grid(images, session.experiment.spread(len(images))).save(session.folder.samples / name)
    session.emit({"event": "samples", "epoch": row["epoch"], "step": row["step"], "path": f"samples/{name}"})


def _finish(session: Session) -> None:
    """The final grid and the denoising strip, by the spec's own sampler from the best weights."""
    experiment, state = session.experiment, session.state
    network = session.averaged
    if session.world.is_main:
        checkpoint.load_weights(network, checkpoint.weights_file(session.folder.path, "best"))
    for tensor in (*network.parameters(), *network.buffers()):
        session.world.from_main(tensor.data)
    _draw_grid(session, "final.png", experiment.spec.sampler, network, state.row)
    if session.world.is_main:
        plan = experiment.spec.sampler.plan(experiment.table, experiment.prediction)
        frames = denoising(experiment, network, plan, 8, seed=experiment.spec.evaluate.seed, frames=10)
        grid(frames.transpose(0, 1).flatten(0, 1), columns=len(frames)).save(session.folder.samples / "denoising.png")


def _close(session: Session, status: str, why: str = "") -> None:
    """Say how it ended, in the folder and to the trackers, and write the report."""
    if not session.world.is_main:
        return
    seconds = round(time.perf_counter() - session.started, 1)
    session.emit({"event": "end", "status": status, "why": why, "step": session.state.step, "seconds": seconds})
    session.folder.set_status(status, why, epoch=session.state.epoch, step=session.state.step, seconds=seconds)
    try:
        write_learned(session.folder.plots, session.experiment.table, session.trained.weighting)
        write_report(session.folder.path)
    finally:
        session.trackers.close(status)


def _what_is_saved(session: Session, status: str) -> str:
    folder = session.folder
    last = folder.checkpoints / "last"
    saved = f"saved: {last} (step {last.resolve().name})" if last.exists() else "no checkpoint was written yet"
    return f"{status} at step {session.state.step}; {saved}. The same command with --resume goes on from there."
