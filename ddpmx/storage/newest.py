"""Finds the run that a command's argument means: a run's folder, or the newest run of a name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path

from ..errors import SpecError, nearest
from ..text import shortened

RUNS = Path("runs")
"""Where a bare name is looked up: the default of `run --out`."""
_ID = re.compile(r"(\d{8}-\d{6})(?:-(\d+))?")


def is_run(path: Path) -> bool:
    """Whether the folder is a run's: whether it contains spec.yaml."""
    return (path / "spec.yaml").is_file()


def newest_run(path: Path) -> Path:
    """The run at `path`, or the newest directly below it, below `runs/<path>`, or of the sweep point `path`.

    If there is none, `path` is returned as it is, and opening it reports that. Raises SpecError for a folder
    with the runs of several names, such as a sweep's, and for an unknown name when there are others.
    """
    try:
        return _newest_run(path)
    except OSError:  # the name is too long, or a folder cannot be read
        return path


def _newest_run(path: Path) -> Path:
    if is_run(path):
        return path
    named = [path] if path.is_absolute() or path.exists() else [RUNS / path, *sorted(RUNS.glob("*"))]
    for folder in named[:1]:
        if runs := runs_in(folder):
            return newest(runs)
        if inner := [below.name for below in sorted(folder.glob("*")) if runs_in(below)]:
            text = f"{shortened(str(path))} holds the runs of several names"
            raise SpecError(text, hint=f"choose one of them: {shortened(', '.join(inner))}")
    points = [folder / path for folder in named[1:] if len(path.parts) == 1 and runs_in(folder / path)]
    if len(points) > 1:
        raise SpecError(
            f"several sweeps have a point '{shortened(path.name)}'",
            hint=f"choose one of them: {', '.join(map(str, points))}",
        )
    if points:
        return newest(runs_in(points[0]))
    if (
        not path.exists()
        and len(path.parts) == 1
        and (names := [folder.name for folder in named[1:] if folder.is_dir()])
    ):
        raise SpecError(
            f"there is no run '{shortened(str(path))}', and none of that name in {RUNS}/",
            hint=nearest(path.name, names),
        )
    return path


def runs_in(folder: Path) -> list[Path]:
    """The runs directly below a folder."""
    return [below for below in folder.iterdir() if is_run(below)] if folder.is_dir() else []


def newest(runs: Iterable[Path]) -> Path:
    """The run that was started last, by its id; a renamed folder counts by its spec's modification time."""

    def started(run: Path) -> tuple[str, int, str]:
        match = _ID.fullmatch(run.name)
        if match:
            return match[1], int(match[2] or 1), run.name
        return (
            time.strftime("%Y%m%d-%H%M%S", time.localtime((run / "spec.yaml").stat().st_mtime)),
            0,
            run.name,
        )

    return max(runs, key=started)
