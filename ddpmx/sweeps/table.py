"""The table that a sweep ends with: each point's status, the training that it shares, and its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..pages.page import duration
from ..storage.folder import RunFolder
from .trainings import Training


def table(
    trainings: Sequence[Training], result: Mapping[str, str], done: Mapping[str, Path], folder: Path
) -> str:
    """A line for each point: its status in `result`, the training, the time, and where the run or its log is.

    `done` has the finished runs. The training is shown if points share one.
    """
    names = {path.resolve(): name for name, path in done.items()}
    job_of = {spec.name: training.first.name for training in trainings for spec in training.points}
    rows = []
    for name, status in result.items():
        run = RunFolder(done[name]) if name in done else None
        ended = run.status() if run else None
        log = folder / f"{name if (folder / f'{name}.log').exists() else job_of[name]}.log"
        where = str(run.path) if run else str(log) if status != "not started" else ""
        time = duration(ended.get("seconds", 0) if ended else 0) if run else ""
        rows.append([name, status, _training(run, names), time, where])
    rows = [["point", "status", "training", "time", "where"], *rows]
    if not any(row[2] for row in rows[1:]):
        rows = [[*row[:2], *row[3:]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _training(run: RunFolder | None, names: Mapping[Path, str]) -> str:
    """The point, or the folder, whose training a finished run shares; empty if it has its own."""
    shared = None if run is None else run.shared
    if run is None or shared is None:
        return ""
    target = shared.target(run.path)
    return names.get(target, str(target))
