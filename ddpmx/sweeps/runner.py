"""Runs a sweep: each point is a run and a process of its own, in a folder below `<out>/<sweep's name>/`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from ..claims.output import lines_of
from ..claims.section import table_of
from ..comparison.comparison import compare
from ..comparison.page import write_page
from ..errors import Interrupted, RunError
from ..outputs import cannot_write
from ..outputs import check as check_output
from ..process.stop import StopSignal
from ..runs.known_runs import finished_runs
from ..runs.preflight import spec_notes, sweep_notes
from ..spec.checks import check
from ..terminal.console import Bar
from .claims import judged_claims, keep_claims
from .jobs import engine_of, run_jobs
from .points import Sweep, in_all_points, load_sweep
from .request import Request
from .statuses import changed_data, jobs_left, set_statuses
from .table import table
from .trainings import Progress, Remaining, announcement, trainings_of


def commands(request: Request, say: Callable[[str], None]) -> list[tuple[str, ...]]:
    """The command line of each training. Raises SpecError if a point cannot work.

    `say` gets the lines on which points share a training.
    """
    grid = load_sweep(request.path, request.overrides)
    preflight(grid)
    trainings = trainings_of(grid.points)
    progress = Progress.look(grid.points, request.out, request.out / grid.name)
    for line in announcement(trainings, progress):
        say(line)
    names = []
    for training in trainings:
        jobs = Remaining.of(training, progress).jobs(training)
        names += [spec.name for spec in jobs if spec is not training.first]
        names.append(training.first.name)
    order = {spec.name: index for index, spec in enumerate(grid.points)}
    return [request.command(name) for name in sorted(names, key=order.__getitem__)]


def sweep(request: Request, *, engine: str, jobs: int | None, say: Callable[[str], None]) -> list[Path]:
    """Run all points that are not finished, and report on all of them; returns their runs, in order.

    Raises SpecError before anything starts, RunError if points failed, and Interrupted if the sweep was
    stopped.
    """
    grid = load_sweep(request.path, request.overrides)
    notes = preflight(grid)
    folder, trainings = request.out / grid.name, trainings_of(grid.points)
    progress = Progress.look(grid.points, request.out, folder)
    done = progress.finished.runs
    changed = changed_data(trainings, progress, folder, refuse=not request.allow_changed_data)
    before = {name: f"finished before{', with other data' if name in changed else ''}" for name in done}
    result = {spec.name: before.get(spec.name, "not started") for spec in grid.points}
    waiting = jobs_left(request, trainings, progress, folder)
    with ExitStack() as stack:
        if waiting:
            workers = stack.enter_context(engine_of(engine, len(waiting), jobs, request.device))
            stop = stack.enter_context(StopSignal())
            bar = stack.enter_context(Bar())
            make_folder(folder)
            keep_claims(grid, folder)
            for note in notes:
                bar.say(f"note: {note}")
            for line in announcement(trainings, progress):
                bar.say(line)
            left = len(result) - len(done)
            bar.say(f"{grid.name}: {left} of {len(result)} points to run, output in {folder}/*.log")
            stopped = run_jobs(waiting, workers, stop, bar, result)
        else:
            stopped = False
    done = finished_runs(grid.points, request.out)
    set_statuses(trainings, done, folder, result)
    result |= before  # the first point of a training has a command even if only others are left
    if done:
        make_folder(folder)  # it does not exist yet if another sweep finished all points
        keep_claims(grid, folder)
    say(table(trainings, result, done, folder))
    report_results(grid, request.out, [done[name] for name in result if name in done], say)
    unfinished = [name for name in result if name not in done]
    if stopped:
        raise Interrupted(
            f"stopped; {len(done)} of {len(result)} points are finished. The same command resumes the others."
        )
    if unfinished:
        raise RunError(
            f"{len(unfinished)} of {len(result)} points failed. The same command tries them again."
        )
    return [done[spec.name] for spec in grid.points]


def report_results(
    grid: Sweep, out: Path, runs: Sequence[Path], say: Callable[[str], None], note: str = ""
) -> None:
    """Write the page of a sweep's finished runs, and say where it is and which claims hold.

    `note` is about the page's intervals.
    """
    judged = judged_claims(grid, out)
    if runs:
        page = out / grid.name / "compare.html"
        comparison = compare(runs, min(runs))  # the same baseline as for `ddpmx compare` of the folder
        write_page(comparison, comparison.groups, page, [] if judged is None else [table_of(judged)])
        say(f"compared: {page}{note}")
    for line in [] if judged is None else ["", *lines_of(judged)]:
        say(line)


def preflight(grid: Sweep) -> list[str]:
    """The preflight's notes about the points, each once. Raises SpecError if points cannot work."""
    points_of: dict[str, list[str]] = {}
    names = [spec.name for spec in grid.points]
    for name, notes in zip(
        names, in_all_points(names, grid.points, lambda spec: spec_notes(spec, check(spec))), strict=True
    ):
        for note in notes:
            points_of.setdefault(note, []).append(name)
    of_points = [
        f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {note}"
        for note, names in points_of.items()
    ]
    return of_points + sweep_notes(grid.points)


def make_folder(folder: Path) -> None:
    """Create the folder and check that the sweep's page can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error, "--out") from None
    check_output(folder / "compare.html", "--out")
