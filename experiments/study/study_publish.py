"""The published results: all that `ddpmx compare` and `ddpmx claims` read of the runs, and nothing large."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

from study_measurements import CHOICES
from study_plan import Study
from study_tables import write_cost, write_verdicts

from ddpmx.claims.section import tables_of
from ddpmx.comparison.comparison import compare
from ddpmx.comparison.files import write_files
from ddpmx.comparison.results import Run, read_run
from ddpmx.errors import RunError
from ddpmx.storage.draws import FOLDER as DRAWS
from ddpmx.storage.event_log import to_json
from ddpmx.storage.folder import FINAL
from ddpmx.storage.shared_training import FILE as SHARED_TRAINING
from ddpmx.training.events import Event

COPIED = ("spec.yaml", "environment.json", "status.json", SHARED_TRAINING, FINAL)
PAGES = {"--csv": Path("compare.csv"), "--html": Path("compare.html")}
"""The comparison of all runs."""
KEPT = ("epoch", "evaluate", "diverged", "end")
"""Events that are all published."""
MOST_STEPS = 40
"""Most `step` events of a run that are published."""
MOST_DRAWS = 20_000
"""Most bytes of a run's files in `draws/`."""
MOST_SAFETENSORS, MOST_BYTES = 200_000, 15_000_000
"""Most bytes of one such file, and of everything."""


def publish(study: Study, results: Path) -> None:
    """Replace the published folder by what the study has by now.

    Claims are judged by the seeds that all points of their sweep have, so that each has as many.
    Raises RunError, and leaves what was published before, if nothing is finished or it would be too large.
    """
    finished = study.finished()
    runs = [read_run(path) for path in sorted(set(finished.values()))]
    if not runs:
        raise RunError(f"no run below {study.out} is finished, so there is nothing to publish")
    with replacing(results) as new:
        for run in runs:
            copy_run(run, new / run.path.relative_to(study.out))
        if (study.out / CHOICES).exists():
            copy(study.out / CHOICES, new / CHOICES)
        for sweep in study.sweeps:
            if (claims := study.claimed(sweep, study.complete(sweep, finished))) is not None:
                claims.write(new / sweep)
        write_pages(runs, new)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Context with an empty folder of the same name that replaces this one at the end.

    Raises RunError if it then has what is not published. With any error, this one stays as it is.
    """
    beside = folder.with_name(f".{folder.name}.new")
    new, old = beside / folder.name, beside / "old"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
        check(new)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_pages(runs: Sequence[Run], folder: Path) -> None:
    """Write into a published folder what its runs cost, how they compare, and the verdicts on its claims."""
    if runs:
        write_cost(runs, folder)
    with chdir(folder):  # the pages name the runs as they are seen from there
        if runs:
            comparison = compare([Path()])
            write_files(comparison, comparison.groups, PAGES, tables_of([Path()]))
        write_verdicts(Path())


def check(folder: Path) -> None:
    """Raise RunError if a folder has weights, or is too large to be published."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        if path.suffix == ".safetensors" and path.parent.name != DRAWS:
            raise RunError(f"{path} has weights, or what belongs to them, which is not published")
        if path.suffix == ".safetensors" and path.stat().st_size > MOST_SAFETENSORS:
            raise RunError(f"{path} has {path.stat().st_size:,} bytes, more than {MOST_SAFETENSORS:,}")
    size = sum(path.stat().st_size for path in files)
    if size > MOST_BYTES:
        largest = max(files, key=lambda path: path.stat().st_size)
        facts = f"the largest file of {len(files)} is {largest.name} with {largest.stat().st_size:,}"
        raise RunError(
            f"the results have {size:,} bytes, more than the {MOST_BYTES:,} to be published: {facts}"
        )


def copy_run(run: Run, target: Path) -> None:
    """Copy what is published of a run."""
    for name in COPIED:
        if (run.path / name).exists():
            copy(run.path / name, target / name)
    events = list(run.folder.events())
    draws = published_draws(run, events)
    for name in draws:
        copy(run.path / name, target / name)
    lines = (to_json(published_event(event, draws)) for event in thinned(events))
    (target / "metrics.jsonl").write_bytes(b"".join(lines))


def thinned(events: Sequence[Event]) -> Iterator[Event]:
    """The events that are published, in order: of steps an even part, of the curves over t the last one."""
    steps = [index for index, event in enumerate(events) if event["event"] == "step"]
    count = min(len(steps), MOST_STEPS)
    kept = {steps[round(at * (len(steps) - 1) / max(count - 1, 1))] for at in range(count)}
    kept |= set([index for index, event in enumerate(events) if event["event"] == "per_t"][-1:])
    for index, event in enumerate(events):
        is_final = event["event"] == "samples" and event["path"] == FINAL
        if event["event"] in KEPT or is_final or index in kept:
            yield event


def published_event(event: Event, draws: Sequence[str]) -> Event:
    """An event without the names of files that are not published."""
    unpublished = {"pictures"} | ({"values"} if event.get("values") not in draws else set())
    return {key: value for key, value in event.items() if key not in unpublished}


def published_draws(run: Run, events: Sequence[Event]) -> list[str]:
    """The files in `draws/` that are published: of the spec's own measurements, then of the newest others."""
    own = [result.draws for result in run.results.values()]
    others = [str(event["values"]) for event in reversed(events) if "values" in event]
    wanted = [name for name in dict.fromkeys([*own, *others]) if name and (run.path / name).is_file()]
    chosen, size = list[str](), 0
    for name in wanted:
        more = (run.path / name).stat().st_size
        if size + more <= MOST_DRAWS:
            chosen, size = [*chosen, name], size + more
    return chosen


def copy(file: Path, target: Path) -> None:
    """Copy a file with its times, by which runs are told older from newer."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, target)
