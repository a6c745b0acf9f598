"""A run in progress: its state, and how it is saved, resumed and rolled back."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, fields
from functools import cached_property

from torch import nn

from ..errors import RunError
from ..process.stop import StopSignal
from ..storage import checkpoint, checkpoint_folder
from ..storage.folder import RunFolder
from ..terminal.console import Bar
from ..trackers import Trackers
from ..training.events import PASSES, Event
from ..training.experiment import Experiment
from ..training.learning_rate import budget_note
from ..training.pacing import Pacing
from ..training.stability import MAX_ROLLBACKS, Diverged, Stability, instability_message
from ..training.state import Trained, TrainState, is_over
from ..world import World


@dataclass
class ActiveRun:
    """The state of a run in progress in this process."""

    experiment: Experiment
    """The spec's data, network, schedule table and loss."""
    folder: RunFolder
    """Where the run's files go."""
    trackers: Trackers
    """The trackers that receive each event."""
    world: World
    """The processes of the run; only the main one writes files."""
    stop: StopSignal
    """Tells whether the user has asked the run to stop."""
    bar: Bar
    """The progress bar, which also prints the run's messages."""
    trained: Trained
    """The network, its average, the optimizer and a learned weighting."""
    state: TrainState = field(default_factory=TrainState)
    """Counters, best loss and last row of the training, as checkpoints store them."""
    epoch_ends: dict[int, int] = field(default_factory=dict)
    """The last step of each logged epoch, and that epoch's number."""
    data_since: int = -1
    """The last step that was trained with different data; −1 if the data never changed."""
    problems: list[str] = field(default_factory=list)
    """Why scores are missing from the last evaluation."""
    logged_within: set[tuple[str, int]] = field(default_factory=set)
    """Kind and step of the logged evaluations and grids that were made within an epoch, not at its end."""
    best_before: int = -1
    """The step of the best weights when the last row was written."""
    plotted: bool = False
    """Whether the spec's figures have been written."""
    started: float = field(default_factory=time.perf_counter)
    """When this process started the run, on the clock of `time.perf_counter`."""

    @cached_property
    def pacing(self) -> Pacing:
        """The steps at which grids, evaluations and checkpoints are due."""
        return Pacing.from_spec(self.experiment.spec, len(self.experiment.data.train), self.experiment.table)

    @property
    def averaged(self) -> nn.Module:
        """The averaged network, which validation, sampling and metrics use."""
        return self.trained.averaged

    @property
    def why(self) -> str:
        """How training went wrong, according to the last row; empty if it is sound."""
        row = self.state.row
        return (
            str(row["verdict"])
            if "verdict" in row
            else instability_message(row["unstable"])
            if "unstable" in row
            else ""
        )

    @property
    def problem_summary(self) -> str:
        """All that is wrong with a finished run: training, and metrics missing from the last evaluation."""
        return "; ".join(filter(None, [self.why, *self.problems]))

    @property
    def just_became_unstable(self) -> bool:
        """Whether the last row reports that the loss diverged, or was unstable in this very epoch."""
        row = self.state.row
        before = max((end for end in self.epoch_ends if end < row["step"]), default=0)
        return "verdict" in row or ("unstable" in row and row["unstable"]["at_step"] > before)

    def is_new_best(self) -> bool:
        """Whether the last row has the lowest loss and the row before it had not.

        Early in training every epoch is the best so far, which is not worth a message.
        """
        step, before = self.state.row["step"], self.best_before
        self.best_before = self.state.best_step
        return (
            self.state.best_step == step
            and before >= 0
            and before != max((end for end in self.epoch_ends if end < step), default=before)
        )

    def emit(self, event: Event) -> None:
        """Append the event to metrics.jsonl, then send it to the trackers."""
        if self.world.is_main:
            self.folder.add_event(event)
            self.trackers.log(event)
            if PASSES in event:
                self.logged_within.add((event["event"], event["step"]))

    def add_row(self, event: Event) -> None:
        """Log an event that also has a row in log.csv."""
        self.emit(event)
        if self.world.is_main:
            self.folder.rows.add(event)

    def is_missing(self, kind: str) -> bool:
        """Whether the log lacks an event of that kind at the current step; the same in every process."""
        step = self.state.step
        logged = (kind, step) in self.logged_within or step in self.epoch_ends
        return self.world.any(self.world.is_main and not logged, self.experiment.device)

    def progress(self, task: str, done: int, total: int) -> None:
        """Show the progress of a task; raises Interrupted if the user has asked to stop."""
        self.stop.check()
        self.bar.show(task, done, total)

    def report_problem(self, problem: str) -> None:
        """Warn that scores are missing, and remember why."""
        self.problems.append(problem)
        self.warn(problem)

    def warn(self, text: str) -> None:
        """Print a warning, once for all processes."""
        if self.world.is_main:
            self.bar.say(f"warning: {text}")

    def write_plots(self) -> None:
        """Write the spec's figures, once. Called after the first step, since matplotlib takes seconds."""
        if self.world.is_main and not self.plotted:
            from ..pages.plots import write_plots

            write_plots(self.folder.plots, self.experiment.spec)
            self.plotted = True

    def save(self) -> None:
        """Write a checkpoint, and delete the ones that the spec does not keep."""
        if not self.world.is_main:
            return
        state, train, folder = self.state, self.experiment.spec.train, self.folder.checkpoints
        self.folder.log.sync()  # a power cut must not lose events from before the checkpoint
        checkpoint.save(folder, state, self.trained)
        steps = checkpoint_folder.steps(folder)
        ends = {**self.epoch_ends, state.row.get("step", 0): state.row.get("epoch", 0)}
        regular = [step for step in steps if step in ends and ends[step] % train.checkpoint_every == 0]
        permanent = [
            step
            for step in steps
            if step in ends and train.keep_every is not None and ends[step] % train.keep_every == 0
        ]
        checkpoint_folder.prune(
            folder, {*steps[-train.keep_last :], *regular[-train.keep_last :], *permanent}
        )

    def restore(self, converged: bool = False) -> None:
        """Load the newest undamaged checkpoint, if there is any checkpoint.

        With `converged`, prefer the newest one from before the loss grew. Raises RunError if all checkpoints
        are damaged.
        """
        folder = self.folder.checkpoints
        choice = self.world.text(
            self._choose_checkpoint(converged) if self.world.is_main else "", self.experiment.device
        )
        if not choice:
            return
        step, best_is = choice.split()
        state = checkpoint.load(folder / step, self.trained)
        batches = self.pacing.per_epoch
        if state.batch > batches:  # such an epoch would never end
            raise RunError(
                f"the checkpoint {folder / step} does not fit the data: it is {state.batch} batches into an"
                f" epoch, which has {batches}"
            )
        self.state = state
        self.best_before = state.best_step
        if best_is == "damaged":
            measured = state.row.get("step") == state.step and math.isfinite(state.row["val_loss"])
            state.best_loss, state.best_step = (
                (state.row["val_loss"], state.step) if measured else (math.inf, -1)
            )
        if 0 <= state.best_step <= self.data_since:
            # the best loss was measured on other images
            state.best_loss, state.best_step, state.best_epoch = math.inf, -1, state.epoch
        if self.world.is_main:
            checkpoint_folder.roll_back(
                folder, state.step, state.step if state.best_step < 0 else state.best_step
            )

    def forget_losses(self) -> None:
        """Keep the weights, but discard the best loss and all loss statistics: they are of other images."""
        state = self.state
        self.data_since = state.step
        state.best_loss, state.best_step, state.best_epoch = math.inf, -1, state.epoch
        for item in fields(Stability):
            setattr(state, item.name, item.default)
        if self.world.is_main and state.step in checkpoint_folder.steps(self.folder.checkpoints):
            checkpoint_folder.roll_back(self.folder.checkpoints, state.step, state.step)

    def _choose_checkpoint(self, converged: bool) -> str:
        """The step to load, and whether its best checkpoint is `whole` or `damaged`; empty for no step."""
        folder = self.folder.checkpoints
        checkpoint_folder.normalize(folder)
        step = checkpoint_folder.newest_intact(folder, self.bar.say)
        if step is None:
            return ""
        if converged:
            whole = [
                earlier
                for earlier in checkpoint_folder.steps(folder)
                if not checkpoint_folder.damage(folder, earlier)
            ]
            step = max(filter(self._is_sound, whole), default=step)
        best = checkpoint.counters(folder / str(step)).best_step
        damage = checkpoint_folder.damage(folder, best) if best >= 0 else ""
        if damage:
            self.bar.say(
                f"warning: {damage}; it was the best one, so the search for the best restarts at step {step}"
            )
        return f"{step} {'damaged' if damage else 'whole'}"

    def _is_sound(self, step: int) -> bool:
        """Whether the checkpoint was validated and its loss had not diverged.

        Checkpoints within an epoch are not validated.
        """
        state = checkpoint.counters(self.folder.checkpoints / str(step))
        return state.batch == 0 and "verdict" not in state.row

    def rewind_log(self) -> None:
        """Remove from the log everything after the current state, which the run will produce again."""
        if self.world.is_main:
            self.folder.cut_after(self.state.step, self.state.epoch)
            self.folder.rows.write()
            self.epoch_ends = {row["step"]: row["epoch"] for row in self.folder.events("epoch")}
            kinds = ("samples", "per_t", "evaluate")
            self.logged_within = {
                (event["event"], event["step"]) for event in self.folder.events(*kinds) if PASSES in event
            }

    def rate_note(self) -> str:
        """A line on how a changed budget changes the learning rate of a resumed run; empty if it does not."""
        state, train = self.state, self.experiment.spec.train
        if is_over(train, state):
            return ""
        before, factor = state.lr, 0.5 ** len(state.rollbacks)
        if (
            before is None
        ):  # checkpoints of older versions have no rate; the log may have that of the last step
            logged = [
                event["lr"]
                for event in self.folder.events("step")
                if event["step"] == state.step and "lr" in event
            ]
            before = logged[-1] / factor if logged else None
        return "" if before is None else budget_note(train, state.step, self.pacing.steps, before, factor)

    def roll_back(self, cause: Diverged) -> bool:
        """Load the last sound checkpoint and halve the learning rate; False after MAX_ROLLBACKS times."""
        if len(self.state.rollbacks) == MAX_ROLLBACKS:
            self.bar.say(
                f"warning: already rolled back {MAX_ROLLBACKS} times, each time halving the learning rate"
            )
            return False
        self.restore(converged=True)
        state = self.state
        event: Event = {
            "event": "diverged",
            "action": "rollback",
            "epoch": state.epoch,
            "step": state.step,
            **cause.facts,
        }
        state.rollbacks.append(event)
        self.save()
        self.rewind_log()
        self.emit(event)
        self.bar.say(
            f"warning: {cause}; rolled back to step {state.step}, continuing with"
            f" 1/{2 ** len(state.rollbacks)} of the learning rate"
        )
        return True
