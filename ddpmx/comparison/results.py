"""Results of a single run: its losses and metrics, each with the conditions under which it is comparable."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import RunError, SpecError
from ..storage import draws
from ..storage.comparable import fingerprinted, metric_parameters
from ..storage.folder import RunFolder
from ..storage.history import History
from ..storage.measurement import LatestMeasurements, Measurement
from ..storage.provenance import changed_at, fingerprint_of
from ..storage.records import Environment, RunSpec
from ..terminal.console import warn
from ..theory.estimate import Estimate, student_t
from ..theory.scores import Draws
from ..training.events import Event, Score

UNKNOWN = "not recorded"
RECORDED_OTHERWISE = ("reference", "weights", "images")
"""Parameters of metrics whose effect a score records: its split, the hash of its extractor, and its n."""


@dataclass(frozen=True)
class Result:
    """A run's result on one measure: the lowest validation loss, or a metric's last measurement."""

    estimate: Estimate
    """The value that counts, with its interval if there is one."""
    epoch: int
    """The epoch of the estimate."""
    step: int
    """The step of the estimate."""
    last: float
    """The last measured value."""
    best: float
    """The best measured value."""
    best_epoch: int
    """The epoch of the best value."""
    better: str
    """`lower` or `higher`."""
    condition: Mapping[str, object]
    """How it was measured: two results are comparable if their conditions are equal."""
    score: Score | None = None
    """Details that the run recorded with the value; None for runs of early versions, which recorded none."""
    draws: str = ""
    """File with the values behind the interval, relative to the run's folder; empty if there is none."""

    @property
    def condition_key(self) -> str:
        """A text that is equal for equal conditions."""
        return json.dumps(self.condition, sort_keys=True)


@dataclass(frozen=True)
class Run:
    """The content of a run's folder."""

    folder: RunFolder
    """The folder that was read."""
    spec: RunSpec
    """The resolved spec."""
    resolved: Mapping[str, object]
    """The spec with content hashes for plugins, by which runs are compared."""
    status: str
    """The status in status.json, or `not started`."""
    why: str
    """The reason for the status; empty if there is none."""
    environment: Environment
    """The content of environment.json."""
    history: History
    """The run's events."""
    results: dict[str, Result]
    """By measure: metrics, measured with the settings of the run's spec, and `val_loss`."""
    others: tuple[Measurement, ...] = ()
    """The last measurement with each other setting of a metric."""
    own: tuple[Measurement, ...] = ()
    """The measurements that `results` are made from, apart from `val_loss`."""

    @property
    def path(self) -> Path:
        """The run's folder, as it was given."""
        return self.folder.path

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec["name"]

    @property
    def seed(self) -> int:
        """The training seed."""
        return self.spec["seed"]

    @property
    def was_unstable(self) -> bool:
        """Whether the loss diverged, or grew far beyond its lowest value, in one of the last epochs."""
        return any("verdict" in row or "unstable" in row for row in self.history.rows)

    @property
    def shares_training(self) -> bool:
        """Whether its weights, losses and training time are those of another run's training."""
        return self.folder.shared is not None

    @property
    def training(self) -> Path:
        """The folder of the run that trained its weights, which is its own unless it shares a training."""
        shared = self.folder.shared
        return self.path.resolve() if shared is None else shared.target(self.path)

    @property
    def is_finished(self) -> bool:
        """Whether the run finished."""
        return self.status == "finished"


def read_run(path: Path) -> Run:
    """Read a run's folder. Raises SpecError if it is not one."""
    folder = RunFolder(path)
    spec, status, environment = folder.spec_data(), folder.status(), folder.environment()
    history, metrics = History(), _Metrics(spec, environment)
    for event in folder.events():
        history.add(event)
        metrics.add(event)
    results = {**metrics.results, **_validation(folder, spec, environment, history)}
    state, why = (status["status"], status.get("why", "")) if status else ("not started", "")
    resolved, latest = fingerprinted(spec, path), metrics.latest
    others, own = (tuple(each.values()) for each in (latest.others, latest.own))
    return Run(folder, spec, resolved, state, why, environment, history, results, others, own)


def read_runs(paths: list[Path]) -> list[Run]:
    """Read the runs at or below the paths, in order.

    An unreadable run below a path is reported and skipped. Raises SpecError if a path is an unreadable run,
    or if no run is left.
    """
    named, runs, problems = {os.path.realpath(path) for path in paths}, [], []
    for path in find_runs(paths):
        try:
            runs.append(read_run(path))
        except (SpecError, RunError) as error:
            if os.path.realpath(path) in named:
                raise
            problems.append(str(error))
            warn(f"the run {path} is skipped: {error}")
    if not runs:
        raise SpecError(f"no run can be read: {'; '.join(problems)}")
    return runs


def find_runs(paths: list[Path]) -> list[Path]:
    """The runs at the paths, or up to three folders below, in order and without duplicates.

    A path without any run is returned as it is.
    """
    runs: dict[str, Path] = {}
    for path in paths:
        below = [file.parent for depth in ("*", "*/*", "*/*/*") for file in path.glob(f"{depth}/spec.yaml")]
        inside = [] if os.path.lexists(path / "spec.yaml") else sorted(below)
        for run in inside or [path]:
            runs.setdefault(os.path.realpath(run), run)
    return list(runs.values())


def _validation(
    folder: RunFolder, spec: RunSpec, environment: Environment, history: History
) -> dict[str, Result]:
    """The lowest validation loss on the run's current data, under `val_loss`; empty if there is none.

    Its interval is that of the mean over the validation images.
    """
    values = history.column("val_loss")
    counts = np.isfinite(values) & (history.column("step") > changed_at(environment))
    if not counts.any():
        return {}
    values, epochs = values[counts], history.column("epoch")[counts]
    lowest, steps = float(values.min()), history.column("step")[counts]
    epoch, step = (int(column[values == lowest].min()) for column in (epochs, steps))
    # These fields define what the loss measures.
    objective = {"prediction": spec["prediction"], "schedule": spec["schedule"], "loss": spec["loss"]}
    shared = folder.shared
    condition = {
        "data": _data(spec, environment, {"step": math.inf}),
        **objective,
        "evaluate.seed": spec["evaluate"]["seed"] if shared is None else shared.validation_seed,
    }
    file = f"{draws.FOLDER}/{draws.VAL_LOSS}"
    found = draws.read_score(folder.path, file, "val_loss", step)
    estimate = Estimate(lowest) if found is None else _with_interval(lowest, found)
    return {
        "val_loss": Result(
            estimate, epoch, step, float(values[-1]), lowest, epoch, "lower", condition, draws=file
        )
    }


def _with_interval(mean: float, found: draws.Draws) -> Estimate:
    """A mean over images, with the 95 % interval that their values imply."""
    values = Draws(found.kind, found.values[None], found.of)
    half = student_t(len(found.values) - 1) * float(values.covariance(values.values)[0, 0]) ** 0.5
    return Estimate(mean, (mean - half, mean + half))


class _Metrics:
    """The results of a run's metrics, from events added one by one.

    A result is the last measurement with the run's own settings; those with others are kept apart.
    """

    def __init__(self, spec: RunSpec, environment: Environment) -> None:
        self._spec, self._environment = spec, environment
        self.latest = LatestMeasurements(spec, environment)
        self.results: dict[str, Result] = {}

    def add(self, event: Event) -> None:
        """Take in one more event."""
        for measured in self.latest.add(event):
            self._add(measured, event)

    def _add(self, measured: Measurement, event: Event) -> None:
        name, value, details, epoch = measured.metric, measured.value, measured.score, measured.epoch
        better, before = measured.better, self.results.get(name)
        condition = {"data": _data(self._spec, self._environment, event), **_condition(measured)}
        if before is not None and before.condition["data"] != condition["data"]:
            before = None  # values on other data do not count for the best one
        better_of = max if better == "higher" else min
        best, best_epoch = value, epoch
        if before is not None and better_of(value, before.best) != value:
            best, best_epoch = before.best, before.best_epoch
        estimate = Estimate.from_score(value, details or {})
        self.results[name] = Result(
            estimate,
            epoch,
            measured.step,
            value,
            best,
            best_epoch,
            better,
            condition,
            details,
            measured.draws,
        )


def _condition(measured: Measurement) -> dict[str, object]:
    """The conditions, in addition to the data, under which two measurements of a metric are comparable."""
    score = measured.score
    parameters = {
        f"parameter {key}": value
        for key, value in metric_parameters(measured.block).items()
        if key not in RECORDED_OTHERWISE
    }
    if score is None:
        unknown = {"split": UNKNOWN, "extractor": UNKNOWN, "preprocessing": UNKNOWN}
        return {"n": measured.samples, **unknown, **parameters}
    return {
        "n": score["n"],
        "split": score["split"],
        "extractor": score["extractor"],
        "preprocessing": score["preprocessing"],
        **parameters,
    }


def _data(spec: RunSpec, environment: Environment, event: Event) -> str:
    """The data that an event was measured on: its fingerprint, or its name if the run recorded none."""
    return fingerprint_of(event, environment) or spec["dataset"]["name"]
