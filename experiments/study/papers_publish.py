"""The published verdict on a paper's claims: a folder with the claims, and what they are judged by."""

from __future__ import annotations

from pathlib import Path

from study_publish import copy_run, replacing, write_pages

from ddpmx.comparison.results import read_run
from ddpmx.runs.known_runs import finished_runs
from ddpmx.sweeps.claims import claimed
from ddpmx.sweeps.points import Sweep


def publish(grid: Sweep, out: Path, results: Path, is_computed: bool) -> int:
    """Replace a sweep's folder in `results` by what it has by now; returns how many points are not finished.

    Without any finished run, what was published before stays, unless the claims need none.
    """
    claims = claimed(grid)
    assert claims is not None  # each file in experiments/claims/ has some
    finished = {} if is_computed else finished_runs(grid.points, out)
    if finished or is_computed:
        runs = [read_run(path) for path in sorted(set(finished.values()))]
        with replacing(results / grid.name) as new:
            claims.write(new)
            for run in runs:  # some may be another sweep's
                copy_run(run, new / run.path.parent.name / run.id)
            write_pages(runs, new)
    return 0 if is_computed else len(grid.points) - len(finished)
