"""One run: a folder, the training loop, and what is saved, sampled, measured and said along the way."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from .. import ops
from ..errors import Interrupted, RunError, SpecError
from ..images import grid
from ..metrics import Score
from ..ops import library
from ..outputs import check_folder
from ..plugins.faults import plugin_error
from ..plugins.loading import file_hash
from ..process import out_of_memory
from ..process.stop import StopSignal
from ..spec.schema import Spec
from ..storage import checkpoint
from ..storage.atomic import write_atomically
from ..storage.folder import FINAL, RunFolder, status_now, to_yaml
from ..storage.provenance import ALLOW, DataRecord, changed_at, difference, earlier_data, refuse_changed
from ..storage.records import Environment
from ..terminal.console import Bar
from ..trackers import Trackers
from ..training.events import Event
from ..training.experiment import Experiment, build
from ..training.loop import EpochDone, Skipped, StepDone, train
from ..training.stability import Diverged, bad_step_message
from ..training.state import is_over, prepare
from ..training.validation import Validated, validate
from ..world import World
from . import changed_plugins, environment
from .closing import close, end, failed, report, what_is_saved
from .evaluate import as_event
from .forecast import Forecast
from .generate import Samples, denoising
from .milestones import Where, draw_grid, in_a_line, scored, within_epoch
from .preflight import findings
from .resume import Resume, find_previous, locked
from .session import Session

LOG_EVERY = 10
"""Steps between the `step` events of metrics.jsonl."""


def run(spec: Spec, *, out: Path, device: torch.device, resume: Resume | None = None) -> Path:
    """Train, sample, measure and report; returns the run's folder. Without `resume` it is a new one.

    Raises SpecError before anything is written, RunError when the run fails and Interrupted when the user stops it; the
    last two leave a folder that `--resume` goes on with.
    """
    world = World.join(device)
    with ExitStack() as stack:
        stack.callback(world.leave)
        bar = stack.enter_context(Bar(quiet=not world.is_main))
        previous = find_previous(spec, out, resume.run) if resume and world.is_main else None
        if previous is None and world.is_main:
            check_folder(out / spec.name / "new", "--out", ours=lambda _: True)
        experiment = build(spec, device, training=True)
        present = DataRecord.from_data(experiment.data)
        if resume and previous is not None and not resume.allow_changed_data:
            hint = f"{ALLOW} resumes with them; without --resume a new run starts, and --run names another"
            refuse_changed(spec, RunFolder(previous), present, hint)
        if spec.train.init_from is not None:
            with spec.blame("train.init_from"):
                checkpoint.load_weights(
                    experiment.network, checkpoint.find_weights(Path(spec.train.init_from))
                )
        stack.enter_context(ops.use_backend(spec.backend))
        stop = stack.enter_context(StopSignal())
        if world.is_main:
            bar.say(f"data: {experiment.data.summary()}")
            for finding in findings(experiment):
                bar.say(f"note: {finding}")
            if resume:
                bar.say(
                    f"going on with {previous}"
                    if previous
                    else "no unfinished run of this spec: starting anew"
                )
            folder = RunFolder.create(out, spec) if previous is None else RunFolder(previous)
            stack.enter_context(locked(folder.path))
        path = Path(world.text(str(folder.path) if world.is_main else "", device))
        try:
            session = _open(experiment, RunFolder(path), world, stop, bar)
        except OSError as error:
            raise RunError(f"the run folder {path} cannot be written: {error}") from error
        try:
            with out_of_memory.reported():
                _train(session)
                _finish(session)
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted(end(session, "interrupted", "stopped on request")) from None
        except (Exception, SystemExit) as error:
            known = plugin_error(error) or error
            if isinstance(known, RunError | SpecError | OSError):
                raise failed(session, known) from error
            if world.is_main:  # a fault in ddpmx: its traceback is for whoever mends it
                session.folder.set_status("failed", repr(error), step=session.state.step)
            raise
        try:
            close(session, "finished", session.all_that_is_wrong)
        except OSError as error:
            raise RunError(f"{error}\n{what_is_saved(session, 'failed')}") from error
    return path


def _open(experiment: Experiment, folder: RunFolder, world: World, stop: StopSignal, bar: Bar) -> Session:
    """Build what training needs, fill it from the last checkpoint if there is one, and write the run's first files."""
    spec, device = experiment.spec, experiment.device
    session = Session(experiment, folder, Trackers(), world, stop, bar, prepare(experiment))
    present, was = (
        DataRecord.from_data(experiment.data),
        folder.environment() if world.is_main else Environment(),
    )
    changed = difference(folder, present) if world.is_main else ""
    session.data_since = int(world.text(str(changed_at(was)), device))
    session.restore()
    if world.any(bool(changed), device):
        session.start_data_anew()
    if not world.is_main:
        return session
    before = [
        {"until_step": min(step, session.state.step), **record.to_json()}
        for step, record in earlier_data(was)
    ]
    if changed:
        bar.say(f"warning: {changed}; the best weights are looked for from step {session.state.step} on")
        had = DataRecord.parse(was.get("data"))
        before += [{"until_step": session.state.step, **had.to_json()}] if had else []
    resumed = folder.status() is not None
    plugins_before: list[object] = []
    if resumed:
        plugins, plugins_before = changed_plugins.renew(spec, folder, session.state.step)
        folder.tidy()
        session.rewind_log()
        if note := session.rate_jump():
            bar.say(f"note: {note}")
        resolved = {**spec.resolved(), "plugins": plugins}
        write_atomically(folder.path / "spec.yaml", to_yaml(resolved))
    folder.write_json(
        "environment.json",
        {
            **environment.describe(device, ops.active(device)),
            "cpu_level": library.cpu_level() if ops.active(device) == "cpp" else None,
            "data": present.to_json(),
            **({"data_before": before} if before else {}),
            "parameters": experiment.parameters,
            **({changed_plugins.RECORD: plugins_before} if plugins_before else {}),
            "plugins": {plugin: file_hash(Path(plugin)) for plugin in spec.plugins if plugin.endswith(".py")},
        },
    )
    folder.set_status("running", step=session.state.step)
    session.trackers = Trackers.open(spec.track, folder.path, spec.resolved(), resumed)
    logged = sum(event["action"] == "rollback" for event in folder.events("diverged"))
    for event in session.state.rollbacks[logged:]:  # a kill kept them from the log
        session.emit(event)
    return session


def _train(session: Session) -> None:
    """The loop's events, saved and shown; turned back where it diverges and the spec says so."""
    spec, state = session.experiment.spec, session.state
    row_is_missing = session.world.is_main and bool(state.row) and state.row["step"] not in session.ends
    if session.world.any(row_is_missing, session.experiment.device) and (
        state.batch == 0 or is_over(spec.train, state)
    ):
        # the last process died between the checkpoint and the row
        _end_epoch(session, validate(session.experiment, session.trained.averaged, session.world))
    if spec.train.on_nan == "rollback" and state.step == 0:
        session.save()  # to go back to
    while True:
        try:
            _epochs(session)
            return
        except Diverged as cause:
            if spec.train.on_nan != "rollback" or not session.roll_back(cause):
                state = session.state
                session.emit(
                    {
                        "event": "diverged",
                        "action": "stop",
                        "epoch": state.epoch + 1,
                        "step": state.step + 1,
                        **cause.facts,
                    }
                )
                raise


def _epochs(session: Session) -> None:
    """What the loop yields, until it ends, is stopped or diverges."""
    state, total, epochs = session.state, session.pacing.steps, session.pacing.epochs
    within_epoch(session)  # the last process may have ended between a checkpoint there and what was due
    forecast = Forecast(session.experiment, session.pacing, state.step, state.seconds)
    for event in train(session.experiment, state, session.trained, session.world, session.stop):
        if isinstance(event, StepDone):
            if event.step % LOG_EVERY == 0 or event.step == total:
                session.emit({"event": "step", **asdict(event)})
            speed = state.loss_count / state.seconds
            session.bar.show(
                "train",
                event.step,
                total,
                f"loss {event.loss:.4f}  {speed:,.0f} images/s  epoch {event.epoch}/{epochs}",
            )
        elif isinstance(event, Skipped):
            session.emit(
                {
                    "event": "diverged",
                    "action": "skip",
                    "epoch": event.epoch,
                    "step": event.step,
                    **event.facts,
                }
            )
            session.bar.say(
                f"warning: step {event.step} leaves its batch out: {bad_step_message(event.facts)}"
            )
        session.draw_plots()
        if isinstance(event, EpochDone):
            session.save()
            _end_epoch(session, event.validated)
        else:
            if session.world.is_main and (line := forecast.see(state)):
                session.bar.say(line)
            within_epoch(session)
    if state.row.get("step") != state.step:  # stopped within a pass
        session.save()
        raise Interrupted("stopped on request")


def _end_epoch(session: Session, validated: Validated) -> None:
    """Draw the epoch's grid, measure when it is due, and write the row."""
    experiment, spec, row = session.experiment, session.experiment.spec, session.state.row
    pacing, over = session.pacing, is_over(spec.train, session.state)
    where: Where = {"epoch": row["epoch"], "step": row["step"]}
    if pacing.grid is not None and (over or pacing.grid.due_at_epoch_end(row["epoch"], row["step"])):
        draw_grid(session, f"epoch-{row['epoch']:04d}.png", spec.evaluate.sampler, session.averaged, where)
    due = over or pacing.evaluation.due_at_epoch_end(row["epoch"], row["step"])
    scores: dict[str, Score] = {}
    if spec.evaluate.metrics and due:
        scores = scored(session)
    if due:
        session.emit({"event": "per_t", **where, **validated.by_timestep(experiment)})
    event: Event = {"event": "epoch", **row, **as_event(scores)}
    if session.problems and due:
        event["problems"] = session.problems
    session.add_row(event)
    session.ends[row["step"]] = row["epoch"]
    if session.world.is_main:
        best = "  (best)" if session.is_best_again() else ""
        session.bar.say(
            f"epoch {row['epoch']:>4}  step {row['step']:>7}  train {row['train_loss']:.4f}  val {row['val_loss']:.4f}"
            f"  {row['images_per_second']:.0f} images/s{in_a_line(scores)}{best}"
        )
        if session.has_news:
            session.bar.say(f"warning: {session.why}; the best weights are of step {session.state.best_step}")


def _finish(session: Session) -> None:
    """The final grid and the denoising strip, by the spec's own sampler from the best weights, and the report.

    The run counts as finished after all of this: what a kill keeps from it, `--resume` makes.
    """
    state, network = session.state, session.averaged
    if session.world.is_main:
        checkpoint.load_weights(network, checkpoint.weights_file(session.folder.path, "best"))
    for tensor in (*network.parameters(), *network.buffers()):
        session.world.from_main(tensor.data)
    if session.pacing.grid is not None:
        _draw_final(session, network)
    if session.world.is_main:
        if state.best_step >= 0:
            session.bar.say(
                f"best: epoch {state.best_epoch}, step {state.best_step}, val {state.best_loss:.4f}"
            )
        if session.why and not session.has_news:
            session.warn(session.why)
        report(session, status_now("finished", session.all_that_is_wrong, epoch=state.epoch, step=state.step))


def _draw_final(session: Session, network: nn.Module) -> None:
    """The pictures that end a run."""
    experiment, row = session.experiment, session.state.row
    draw_grid(
        session,
        Path(FINAL).name,
        experiment.spec.sampler,
        network,
        {"epoch": row["epoch"], "step": row["step"]},
    )
    if session.world.is_main:
        plan = experiment.spec.sampler.plan(experiment.table, experiment.prediction)
        frames = denoising(experiment, network, plan, Samples(8, experiment.spec.evaluate.seed), frames=10)
        grid(frames.pixels.transpose(0, 1).flatten(0, 1), columns=len(frames.pixels)).save(
            session.folder.samples / "denoising.png"
        )
        if frames.problem:
            session.warn(f"in samples/denoising.png {frames.problem}")
