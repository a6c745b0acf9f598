"""How the points of a sweep stand: what is left to run, which data have changed, and how runs have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..runs.known_runs import unfinished_run
from ..storage.folder import RunFolder
from ..storage.provenance import PresentData, difference, recorded_data, refuse_changed
from .local import Job
from .point import KEEP
from .request import Request
from .trainings import Progress, Remaining, Training


def jobs_left(request: Request, trainings: Sequence[Training], progress: Progress, folder: Path) -> list[Job]:
    """The jobs that complete the points of these trainings."""
    return [
        Job(spec.name, request.command(spec.name), folder / f"{spec.name}.log")
        for training in trainings
        for spec in Remaining.of(training, progress).jobs(training)
    ]


def changed_data(
    trainings: Sequence[Training], progress: Progress, folder: Path, *, refuse: bool
) -> set[str]:
    """The points whose weights, finished or not, were trained on data that have changed since.

    Raises SpecError if there are any and `refuse` is set.
    """
    present, changed = PresentData(), set()
    for training in trainings:
        shared = Remaining.of(training, progress).trained
        for spec in training.points:
            path = progress.finished.runs.get(spec.name) or unfinished_run(spec, folder) or shared
            if path is None or recorded_data(run_of := RunFolder(path)) is None:
                continue
            if refuse:
                refuse_changed(spec, run_of, present.load(spec), KEEP)
            elif difference(run_of, present.load(spec)):
                changed.add(spec.name)
    return changed


def set_statuses(
    trainings: Sequence[Training], done: Mapping[str, Path], folder: Path, result: dict[str, str]
) -> None:
    """Write the status of the points that had no command of their own to `result`."""
    for training in trainings:
        by_first = result[training.first.name]
        for spec in training.points:
            if spec.name in done:
                if not result[spec.name].startswith("finished"):
                    result[spec.name] = "finished"
            elif result[spec.name] == "not started" != by_first:
                run = unfinished_run(spec, folder, shares=True)
                ended = None if run is None else RunFolder(run).status()
                if ended is not None and ended["status"] == "running":  # it was killed with its job
                    result[spec.name] = by_first
                elif ended is not None:
                    why = ended.get("why", "") if ended["status"] == "failed" else ""
                    result[spec.name] = ": ".join(filter(None, [ended["status"], why]))
