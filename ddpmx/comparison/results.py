"""What one run reached: its losses and metrics, each with what decides whether another run's may stand beside it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import RunError, SpecError
from ..storage.folder import RunFolder, fingerprinted
from ..storage.history import MOST_METRICS, History, score
from ..storage.provenance import changed_at, fingerprint_of
from ..storage.records import Environment, RunSpec
from ..terminal.console import warn
from ..theory.estimate import Estimate
from ..training.events import Event, Score

UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Result:
    """A measure of a run. `validation loss` counts at its lowest, whose weights are `best`; a metric at its last measurement."""

    estimate: Estimate
    epoch: int
    last: float
    best: float
    best_epoch: int
    better: str
    """`lower` or `higher`."""
    condition: Mapping[str, object]
    """Two results are comparable where these are equal."""
    score: Score | None = None
    """The provenance that the run wrote; None for runs of before there was any."""


@dataclass(frozen=True)
class Run:
    """A run's folder, read."""

    folder: RunFolder
    spec: RunSpec
    resolved: Mapping[str, object]
    """The spec with plugins as content hashes: what runs are compared by."""
    status: str
    why: str
    environment: Environment
    history: History
    results: dict[str, Result]

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def id(self) -> str:
        return self.path.resolve().name

    @property
    def name(self) -> str:
        return self.spec["name"]

    @property
    def seed(self) -> int:
        return self.spec["seed"]

    @property
    def is_finished(self) -> bool:
        return self.status == "finished"


def read_run(path: Path) -> Run:
    """Raises SpecError where the folder is no run."""
    folder = RunFolder(path)
    spec, status, environment = folder.spec_data(), folder.status(), folder.environment()
    history, metrics = History(), _Metrics(spec, environment)
    for event in folder.events():
        history.add(event)
        metrics.add(event)
    results = {**metrics.results, **_validation(spec, environment, history)}
    state, why = (status["status"], status.get("why", "")) if status else ("not started", "")
    return Run(folder, spec, fingerprinted(spec, path), state, why, environment, history, results)


def read_runs(paths: list[Path]) -> list[Run]:
    """The runs that the paths are or hold, in order. One that cannot be read is reported and left out, unless a path names it.

    Raises SpecError for a named one, and where none is left.
    """
    named, runs, problems = {os.path.realpath(path) for path in paths}, [], []
    for path in find_runs(paths):
        try:
            runs.append(read_run(path))
        except (SpecError, RunError) as error:
            if os.path.realpath(path) in named:
                raise
            problems.append(str(error))
            warn(f"the run {path} is left out: {error}")
    if not runs:
        raise SpecError(f"no run can be read: {'; '.join(problems)}")
    return runs


def find_runs(paths: list[Path]) -> list[Path]:
    """The runs that the paths are or hold, up to three folders down, in order and each once; a path without any stays as it is."""
    found: dict[str, Path] = {}
    for path in paths:
        below = [file.parent for depth in ("*", "*/*", "*/*/*") for file in path.glob(f"{depth}/spec.yaml")]
        inside = [] if os.path.lexists(path / "spec.yaml") else sorted(below)
        for run in inside or [path]:
            found.setdefault(os.path.realpath(run), run)
    return list(found.values())


def _validation(spec: RunSpec, environment: Environment, history: History) -> dict[str, Result]:
    values = history.column("val_loss")
    counted = np.isfinite(values) & (history.column("step") > changed_at(environment))
    if not counted.any():
        return {}
    values, epochs = values[counted], history.column("epoch")[counted]
    lowest, epoch = float(values.min()), int(epochs[values == values.min()].min())
    objective = {
        "prediction": spec["prediction"],
        "schedule": spec["schedule"],
        "loss": spec["loss"],
    }  # these give the loss its unit
    condition = {
        "data": _data(spec, environment, {"step": math.inf}),
        **objective,
        "evaluate.seed": spec["evaluate"]["seed"],
    }
    return {"val_loss": Result(Estimate(lowest), epoch, float(values[-1]), lowest, epoch, "lower", condition)}


class _Metrics:
    """The results of a run's metrics, its events taken in one after the other."""

    def __init__(self, spec: RunSpec, environment: Environment) -> None:
        self._spec, self._environment = spec, environment
        self.results: dict[str, Result] = {}

    def add(self, event: Event) -> None:
        if event["event"] not in ("epoch", "evaluate"):
            return
        for name, value in event["metrics"].items():
            if math.isfinite(value) and (name in self.results or len(self.results) < MOST_METRICS):
                self._add(name, value, event)

    def _add(self, name: str, value: float, event: Event) -> None:
        known = score(event, name)
        n = event.get("samples", self._spec["evaluate"]["samples"])
        better = (
            known["better"] if known else "higher" if name == "is_cnn" else "lower"
        )  # runs without scores have is_cnn and fd_cnn only
        before, epoch = self.results.get(name), event["epoch"]
        condition = {"data": _data(self._spec, self._environment, event), **_provenance(known, n)}
        if before is not None and before.condition["data"] != condition["data"]:
            before = None  # a best one of other images is none of these
        better_than = max if better == "higher" else min
        best, best_epoch = value, epoch
        if before is not None and better_than(value, before.best) != value:
            best, best_epoch = before.best, before.best_epoch
        self.results[name] = Result(
            Estimate.from_score(value, known or {}), epoch, value, best, best_epoch, better, condition, known
        )


def _provenance(score: Score | None, n: int) -> dict[str, object]:
    """What decides, besides the data, whether two measurements of a metric are comparable."""
    if score is None:
        return {"n": n, "split": UNKNOWN, "extractor": UNKNOWN, "preprocessing": UNKNOWN}
    return {
        "n": score["n"],
        "split": score["split"],
        "extractor": score["extractor"],
        "preprocessing": score["preprocessing"],
    }


def _data(spec: RunSpec, environment: Environment, event: Event) -> str:
    """What data an event was measured with, by content where the run has written that down."""
    return fingerprint_of(event, environment) or spec["dataset"]["name"]
