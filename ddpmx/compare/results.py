"""What one run reached: its losses and metrics, each with what decides whether another run's may stand beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..estimate import Estimate
from ..provenance import changed_at, fingerprint_of
from ..run_folder import RunFolder

OBJECTIVE = ("prediction", "schedule", "loss")
"""Blocks of the spec that give validation loss its unit."""
PROVENANCE = ("n", "split", "extractor", "preprocessing")
UNKNOWN = "not recorded"
Event = dict[str, Any]


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
    events: list[Event]
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

    @property
    def epochs(self) -> list[Event]:
        """The events of its epochs."""
        return [event for event in self.events if event["event"] == "epoch"]

    @property
    def seconds(self) -> float | None:
        """Of training; None before the first epoch's end."""
        return sum(event["seconds"] for event in self.epochs) if self.epochs else None


def read_run(path: Path) -> Run:
    """Raises SpecError where the folder is no run."""
    folder = RunFolder(path)
    spec, status, environment = folder.resolved(), folder.read_json("status.json"), folder.read_json("environment.json")
    events = folder.events()
    results = {**_metrics(spec, environment, events), **_validation(spec, environment, events)}
    return Run(folder, spec, status.get("status", "not started"), status.get("why", ""), environment, events, results)


def find_runs(paths: list[Path]) -> list[Path]:
    """The runs that the paths are or hold, up to three folders down, in order and each once; a path without any stays as it is."""
    found: dict[Path, Path] = {}
    for path in paths:
        below = [file.parent for depth in ("*", "*/*", "*/*/*") for file in path.glob(f"{depth}/spec.yaml")]
        inside = [] if (path / "spec.yaml").is_file() else sorted(below)
        for run in inside or [path]:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _validation(spec: Mapping[str, Any], environment: Mapping[str, Any], events: list[Event]) -> dict[str, Result]:
    rows = [event for event in events if event["event"] == "epoch" and event["step"] > changed_at(environment)]
    values = [(event["val_loss"], event["epoch"]) for event in rows if math.isfinite(event["val_loss"])]
    if not values:
        return {}
    lowest, epoch = min(values)
    seed = spec["evaluate"]["seed"]
    condition = {"data": _data(spec, environment, {"step": math.inf}), **{key: spec[key] for key in OBJECTIVE}, "evaluate.seed": seed}
    return {"val_loss": Result(Estimate(lowest), epoch, values[-1][0], lowest, epoch, "lower", condition)}


def _metrics(spec: Mapping[str, Any], environment: Mapping[str, Any], events: list[Event]) -> dict[str, Result]:
    results: dict[str, Result] = {}
    for event in events:
        for name, value in event.get("metrics", {}).items():
            if not math.isfinite(value):
                continue
            score: dict[str, Any] = event.get("scores", {}).get(name, {})
            n = event.get("samples", spec["evaluate"]["samples"])
            measured = {key: score[key] for key in PROVENANCE} if score else {**dict.fromkeys(PROVENANCE, UNKNOWN), "n": n}
            better = score.get("better", "higher" if name == "is_cnn" else "lower")  # runs without scores have is_cnn and fd_cnn only
            before, epoch = results.get(name), event["epoch"]
            condition = {"data": _data(spec, environment, event), **measured}
            if before is not None and before.condition["data"] != condition["data"]:
                before = None  # a best one of other images is none of these
            better_than = max if better == "higher" else min
            best, best_epoch = value, epoch
            if before is not None and better_than(value, before.best) != value:
                best, best_epoch = before.best, before.best_epoch
            results[name] = Result(Estimate.of_score(value, score), epoch, value, best, best_epoch, better, condition, score)
    return results


def _data(spec: Mapping[str, Any], environment: Mapping[str, Any], event: Mapping[str, Any]) -> Any:
    """What data an event was measured with, by content where the run has written that down."""
    return fingerprint_of(event, environment) or spec["dataset"]["name"]
