"""The runs of a sweep's points, wherever they lie below the folder that holds the sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..comparison.results import Run, read_run
from ..errors import RunError, SpecError
from ..runs.known_runs import readable_runs, seedless_key, specs_below
from ..storage.folder import RunFolder
from ..storage.newest import newest
from ..terminal.console import warn
from .points import Point
from .recorded import Claimed, ClaimedPoint


class KnownRuns:
    """The runs below a folder for runs, by what they compute. Runs are read when they are asked for."""

    def __init__(self, out: Path) -> None:
        self._folders: dict[str, dict[int, list[RunFolder]]] = {}
        """By what they compute apart from the seed, and by seed."""
        self._read: dict[Path, Run] = {}
        for folder, recorded in readable_runs(specs_below(out)):
            if isinstance(seed := recorded["seed"], int):
                of_spec = self._folders.setdefault(seedless_key(recorded), {})
                of_spec.setdefault(seed, []).append(folder)

    def points(self, claimed: Claimed) -> list[Point]:
        """The points of a sweep with their runs: of each seed the newest finished one, or else the newest.

        A run that cannot be read is reported and left out.
        """
        return [
            Point(label, point.spec, point.seeds, tuple(self._runs(point)))
            for label, point in claimed.points.items()
        ]

    def _runs(self, point: ClaimedPoint) -> Iterator[Run]:
        of_spec = self._folders.get(seedless_key(point.spec), {})
        for seed in point.seeds:
            folders = of_spec.get(seed, [])
            finished = [folder.path for folder in folders if folder.is_finished]
            if candidates := finished or [folder.path for folder in folders]:
                yield from self._readable(newest(candidates))

    def _readable(self, path: Path) -> Iterator[Run]:
        try:
            if path not in self._read:
                self._read[path] = read_run(path)
            yield self._read[path]
        except (SpecError, RunError) as error:
            warn(f"the run {path} is skipped: {error}")
