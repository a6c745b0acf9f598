"""The claims in a sweep's spec: kept in its folder, and judged by its runs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..claims.found import KnownRuns
from ..claims.judged import Judged
from ..claims.recorded import NAME, Claimed, ClaimedPoint, claimed_part, read
from ..errors import SpecError
from ..outputs import cannot_write
from ..runs.known_runs import comparable
from ..spec.claim_checks import measures_of
from .points import Sweep


def claimed(grid: Sweep) -> Claimed | None:
    """The claims of a sweep, with its points; None if it has none."""
    if not grid.claims:
        return None
    points = {
        label: ClaimedPoint(
            tuple(dict.fromkeys(spec.seed for spec in specs)), claimed_part(comparable(specs[0]))
        )
        for label, specs in grid.by_label.items()
    }
    return Claimed(grid.name, grid.claims, measures_of(grid.points), points)


def judged_claims(grid: Sweep, out: Path) -> Judged | None:
    """The verdicts on a sweep's claims by the runs below `out`; None if it has none."""
    content = claimed(grid)
    return None if content is None else Judged.of(content, KnownRuns(out))


def keep_claims(grid: Sweep, folder: Path) -> None:
    """Write a sweep's claims into its folder; without claims, remove those of an earlier spec.

    Raises RunError if the disk fails, SpecError if the file cannot be written for another reason.
    """
    content = claimed(grid)
    if content is not None:
        content.write(folder)
        return
    try:
        (folder / NAME).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder / NAME, error, "--out") from None


def keep_claims_of_part(grid: Sweep, folder: Path) -> None:
    """The same for a command that runs one point, which may be one of added seeds.

    The claims stay as they are if they are about seeds that the sweep of this command lacks.
    """
    points = grid.by_label
    with suppress(SpecError):  # a file that is missing or damaged is written anew
        for label, point in read(folder / NAME).points.items():
            if label in points and not set(point.seeds) <= {spec.seed for spec in points[label]}:
                return
    keep_claims(grid, folder)
