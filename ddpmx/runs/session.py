"""A run under way: what it holds, and how it is saved, gone on with and turned back."""

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
    ends: dict[int, int] = field(default_factory=dict)
    """Of the finished epochs in the log: their last step, and their number."""
    data_since: int = -1
    """The last step that was trained with other data than the present; −1 where there is none."""
    problems: list[str] = field(default_factory=list)
    """Why scores are missing in the last evaluation."""
    within: set[tuple[str, int]] = field(default_factory=set)
    """Kind and step of the events in the log that belong to no epoch's end: evaluations and grids within one."""
    best_before: int = -1
    """The step of the best weights, as of the last row."""
    plotted: bool = False
    """Whether the spec's figures are written."""
    started: float = field(default_factory=time.perf_counter)

    @cached_property
    def pacing(self) -> Pacing:
        """What is due when."""
        return Pacing.from_spec(self.experiment.spec, len(self.experiment.data.train), self.experiment.table)

    @property
    def averaged(self) -> nn.Module:
        """The network that validation, samples and metrics use."""
        return self.trained.averaged

    @property
    def why(self) -> str:
        """What is to be said of the training's stability, at the last row."""
        row = self.state.row
        return (
            str(row["verdict"])
            if "verdict" in row
            else instability_message(row["unstable"])
            if "unstable" in row
            else ""
        )

    @property
    def all_that_is_wrong(self) -> str:
        """What is to be said of a run that has finished: of its training, and of metrics that failed in the last evaluation."""
        return "; ".join(filter(None, [self.why, *self.problems]))

    @property
    def has_news(self) -> bool:
        """Whether the last row says that the loss has diverged, or was unstable within its epoch."""
        row = self.state.row
        before = max((end for end in self.ends if end < row["step"]), default=0)
        return "verdict" in row or ("unstable" in row and row["unstable"]["at_step"] > before)

    def is_best_again(self) -> bool:
        """Whether the last row, has the lowest loss and the one before it had not.

        While each epoch is the best so far, saying so says nothing.
        """
        step, before = self.state.row["step"], self.best_before
        self.best_before = self.state.best_step
        return (
            self.state.best_step == step
            and before >= 0
            and before != max((end for end in self.ends if end < step), default=before)
        )

    def emit(self, event: Event) -> None:
        """Into metrics.jsonl, then to the trackers that mirror it."""
        if self.world.is_main:
            self.folder.add_event(event)
            self.trackers.log(event)
            if PASSES in event:
                self.within.add((event["event"], event["step"]))

    def add_row(self, event: Event) -> None:
        """An event that log.csv has a row for."""
        self.emit(event)
        if self.world.is_main:
            self.folder.rows.add(event)

    def lacks(self, kind: str) -> bool:
        """Whether an event of that kind, which is due at the step reached, is not in the log; the same in all processes."""
        step = self.state.step
        missing = self.world.is_main and (kind, step) not in self.within and step not in self.ends
        return self.world.any(missing, self.experiment.device)

    def progress(self, what: str, done: int, total: int) -> None:
        self.stop.check()
        self.bar.show(what, done, total)

    def miss(self, problem: str) -> None:
        """Warn of scores that are missing, and remember why."""
        self.problems.append(problem)
        self.warn(problem)

    def warn(self, text: str) -> None:
        """A warning on the terminal, by one process."""
        if self.world.is_main:
            self.bar.say(f"warning: {text}")

    def draw_plots(self) -> None:
        """The spec's figures, once: after the first step, since loading matplotlib and drawing take seconds."""
        if self.world.is_main and not self.plotted:
            from ..pages.plots import write_plots

            write_plots(self.folder.plots, self.experiment.spec)
            self.plotted = True

    def save(self) -> None:
        """Write a checkpoint, and delete those that the spec does not keep."""
        if not self.world.is_main:
            return
        state, train, folder = self.state, self.experiment.spec.train, self.folder.checkpoints
        self.folder.log.sync()  # what a checkpoint has seen is not lost with the power
        checkpoint.save(folder, state, self.trained)
        steps = checkpoint_folder.steps(folder)
        ends = {**self.ends, state.row.get("step", 0): state.row.get("epoch", 0)}
        regular = [step for step in steps if step in ends and ends[step] % train.checkpoint_every == 0]
        forever = [
            step
            for step in steps
            if step in ends and train.keep_every is not None and ends[step] % train.keep_every == 0
        ]
        checkpoint_folder.prune(folder, {*steps[-train.keep_last :], *regular[-train.keep_last :], *forever})

    def restore(self, converged: bool = False) -> None:
        """Go back to the newest whole checkpoint, if there is any; of those, if `converged`, to one of before the loss grew.

        Raises RunError if all are damaged.
        """
        folder = self.folder.checkpoints
        choice = self.world.text(
            self._choose(converged) if self.world.is_main else "", self.experiment.device
        )
        if not choice:
            return
        step, best_is = choice.split()
        state = checkpoint.load(folder / step, self.trained)
        batches = self.pacing.per_epoch
        if state.batch > batches:  # an epoch that would not end
            raise RunError(
                f"the checkpoint {folder / step} is of other data: it has done {state.batch} batches of an epoch of {batches}"
            )
        self.state = state
        self.best_before = state.best_step
        if best_is == "damaged":
            measured = state.row.get("step") == state.step and math.isfinite(state.row["val_loss"])
            state.best_loss, state.best_step = (
                (state.row["val_loss"], state.step) if measured else (math.inf, -1)
            )
        if 0 <= state.best_step <= self.data_since:
            state.best_loss, state.best_step, state.best_epoch = math.inf, -1, state.epoch  # of other images
        if self.world.is_main:
            checkpoint_folder.roll_back(
                folder, state.step, state.step if state.best_step < 0 else state.best_step
            )

    def start_data_anew(self) -> None:
        """Keep the weights and forget what is known of the losses, which were those of other images."""
        state = self.state
        self.data_since = state.step
        state.best_loss, state.best_step, state.best_epoch = math.inf, -1, state.epoch
        for item in fields(Stability):
            setattr(state, item.name, item.default)
        if self.world.is_main and state.step in checkpoint_folder.steps(self.folder.checkpoints):
            checkpoint_folder.roll_back(self.folder.checkpoints, state.step, state.step)

    def _choose(self, converged: bool) -> str:
        """The step to go on from and whether its best checkpoint is `whole` or `damaged`; empty where there is none."""
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
            self.bar.say(f"warning: {damage}; it was the best, which is looked for again from step {step} on")
        return f"{step} {'damaged' if damage else 'whole'}"

    def _is_sound(self, step: int) -> bool:
        """Whether a step's checkpoint was validated, which those within an epoch were not, and found to be no worse than noise."""
        state = checkpoint.counters(self.folder.checkpoints / str(step))
        return state.batch == 0 and "verdict" not in state.row

    def rewind_log(self) -> None:
        """Take out of the log what the run makes again from its state on."""
        if self.world.is_main:
            self.folder.cut_after(self.state.step, self.state.epoch)
            self.folder.rows.write()
            self.ends = {row["step"]: row["epoch"] for row in self.folder.events("epoch")}
            kinds = ("samples", "per_t", "evaluate")
            self.within = {
                (event["event"], event["step"]) for event in self.folder.events(*kinds) if PASSES in event
            }

    def rate_jump(self) -> str:
        """What another budget does to the learning rate of a run that goes on, in a line; empty where it does nothing."""
        state, train = self.state, self.experiment.spec.train
        if is_over(train, state):
            return ""
        before, factor = state.lr, 0.5 ** len(state.rollbacks)
        if (
            before is None
        ):  # an older version's checkpoint: then the log tells, of the step that it logged last
            logged = [
                event["lr"]
                for event in self.folder.events("step")
                if event["step"] == state.step and "lr" in event
            ]
            before = logged[-1] / factor if logged else None
        return "" if before is None else budget_note(train, state.step, self.pacing.steps, before, factor)

    def roll_back(self, cause: Diverged) -> bool:
        """Go back to the last checkpoint with half the learning rate; False where that was done too often."""
        if len(self.state.rollbacks) == MAX_ROLLBACKS:
            self.bar.say(
                f"warning: went back {MAX_ROLLBACKS} times before, each time with half the learning rate"
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
            f"warning: {cause}; going on from step {state.step} with 1/{2 ** len(state.rollbacks)} of the learning rate"
        )
        return True
