"""What one run reached: its losses and metrics, each with what decides whether another run's may stand beside it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RunError, SpecError
from ..storage.folder import RunFolder
from ..storage.history import MOST_METRICS, History, score
from ..storage.provenance import changed_at, fingerprint_of
from ..terminal.console import warn
from ..theory.estimate import Estimate
from ..training.events import Event

OBJECTIVE = ("prediction", "schedule", "loss")
"""Blocks of the spec that give validation loss its unit."""
PROVENANCE = ("n", "split", "extractor", "preprocessing")
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
    condition: Mapping[str, Any]
    """Two results are comparable where these are equal."""
    score: Mapping[str, Any] = field(default_factory=dict)
    """The provenance that the run wrote; empty for runs of before there was any."""


@dataclass(frozen=True)
class Run:
    """A run's folder, read."""

    folder: RunFolder
    spec: dict[str, Any]
    """Resolved, with plugins as content hashes."""
    status: str
    why: str
    environment: dict[str, Any]
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
        return str(self.spec["name"])

    @property
    def seed(self) -> int:
        return int(self.spec["seed"])

    @property
    def is_finished(self) -> bool:
        return self.status == "finished"


def read_run(path: Path) -> Run:
    """Raises SpecError where the folder is no run."""
    folder = RunFolder(path)
    spec, status, environment = folder.resolved(), folder.read_json("status.json"), folder.read_json("environment.json")
    history, metrics = History(), _Metrics(spec, environment)
    for event in folder.events():
        history.add(event)
        metrics.add(event)
    results = {**metrics.results, **_validation(spec, environment, history)}
    return Run(folder, spec, status.get("status", "not started"), status.get("why", ""), environment, history, results)


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


def _validation(spec: Mapping[str, Any], environment: Mapping[str, Any], history: History) -> dict[str, Result]:
    values = history.column("val_loss")
    counted = np.isfinite(values) & (history.column("step") > changed_at(environment))
    if not counted.any():
        return {}
    values, epochs = values[counted], history.column("epoch")[counted]
    lowest, epoch = float(values.min()), int(epochs[values == values.min()].min())
    seed = spec["evaluate"]["seed"]
    condition = {"data": _data(spec, environment, {"step": math.inf}), **{key: spec[key] for key in OBJECTIVE}, "evaluate.seed": seed}
    return {"val_loss": Result(Estimate(lowest), epoch, float(values[-1]), lowest, epoch, "lower", condition)}


class _Metrics:
    """The results of a run's metrics, its events taken in one after the other."""

    def __init__(self, spec: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
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
        measured = {key: known[key] for key in PROVENANCE} if known else {**dict.fromkeys(PROVENANCE, UNKNOWN), "n": n}
        better = known.get("better", "higher" if name == "is_cnn" else "lower")  # runs without scores have is_cnn and fd_cnn only
        before, epoch = self.results.get(name), event["epoch"]
        condition = {"data": _data(self._spec, self._environment, event), **measured}
        if before is not None and before.condition["data"] != condition["data"]:
            before = None  # a best one of other images is none of these
        better_than = max if better == "higher" else min
        best, best_epoch = value, epoch
        if before is not None and better_than(value, before.best) != value:
            best, best_epoch = before.best, before.best_epoch
        self.results[name] = Result(Estimate.of_score(value, known), epoch, value, best, best_epoch, better, condition, known)


def _data(spec: Mapping[str, Any], environment: Mapping[str, Any], event: Mapping[str, Any]) -> Any:
    """What data an event was measured with, by content where the run has written that down."""
    return fingerprint_of(event, environment) or spec["dataset"]["name"]
