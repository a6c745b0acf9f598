"""Which run is meant where a command takes one: its folder, or the newest of a name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path

from ..errors import SpecError, nearest
from ..text import shortened

RUNS = Path("runs")
"""Where a bare name is looked for: the default of `run --out`."""
_ID = re.compile(r"(\d{8}-\d{6})(?:-(\d+))?")


def is_run(path: Path) -> bool:
    """Whether the folder has what makes it a run's."""
    return (path / "spec.yaml").is_file()


def newest_run(path: Path) -> Path:
    """The run that `path` is, or the newest of those right below it, or below `runs/<path>`, or of a sweep's point of that name.

    A path with no run, and none of that name, stays as it is: whoever opens it says so. Raises SpecError for a folder of several
    names, such as a sweep's.
    """
    try:
        return _newest_run(path)
    except OSError:  # too long a name, or a folder that may not be read
        return path


def _newest_run(path: Path) -> Path:
    if is_run(path):
        return path
    named = [path] if path.is_absolute() or path.exists() else [RUNS / path, *sorted(RUNS.glob("*"))]
    for folder in named[:1]:
        if found := runs_in(folder):
            return newest(found)
        if inner := [below.name for below in sorted(folder.glob("*")) if runs_in(below)]:
            text = f"{shortened(str(path))} holds the runs of several names"
            raise SpecError(text, hint=f"name one of them: {shortened(', '.join(inner))}")
    points = [folder / path for folder in named[1:] if len(path.parts) == 1 and runs_in(folder / path)]
    if len(points) > 1:
        raise SpecError(
            f"several sweeps have a point '{shortened(path.name)}'", hint=", ".join(map(str, points))
        )
    if points:
        return newest(runs_in(points[0]))
    if (
        not path.exists()
        and len(path.parts) == 1
        and (names := [folder.name for folder in named[1:] if folder.is_dir()])
    ):
        raise SpecError(
            f"there is no run '{shortened(str(path))}', nor one of that name below {RUNS}/",
            hint=nearest(path.name, names),
        )
    return path


def runs_in(folder: Path) -> list[Path]:
    """The runs right below a folder."""
    return [below for below in folder.iterdir() if is_run(below)] if folder.is_dir() else []


def newest(runs: Iterable[Path]) -> Path:
    """The one that was started last, by its id; where a folder has another name, by its spec's age."""

    def started(run: Path) -> tuple[str, int, str]:
        found = _ID.fullmatch(run.name)
        if found:
            return found[1], int(found[2] or 1), run.name
        return (
            time.strftime("%Y%m%d-%H%M%S", time.localtime((run / "spec.yaml").stat().st_mtime)),
            0,
            run.name,
        )

    return max(runs, key=started)
