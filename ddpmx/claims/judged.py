"""A sweep's claims with their verdicts, from the files that the sweeps keep."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .found import KnownRuns
from .judge import judge
from .recorded import NAME, Claimed, read
from .verdict import Verdict

DEPTHS = ("", "*/", "*/*/")
"""Where files are looked for: in a sweep's own folder, in one of sweeps, or in one of such folders."""


@dataclass(frozen=True)
class Judged:
    """The verdicts on a sweep's claims."""

    sweep: str
    """The sweep's name."""
    verdicts: tuple[Verdict, ...]
    """In the order of the claims."""

    @classmethod
    def of(cls, claimed: Claimed, runs: KnownRuns) -> Judged:
        """The verdicts by these runs."""
        return cls(claimed.sweep, tuple(judge(claimed.claims, runs.points(claimed))))

    def to_json(self) -> list[dict[str, object]]:
        """As JSON types, each with the name of the sweep."""
        return [{"sweep": self.sweep, **verdict.to_json()} for verdict in self.verdicts]


def files_of_claims(paths: Iterable[Path]) -> list[Path]:
    """The files of claims in the folders, or at most two folders below, sorted and without duplicates."""
    found: dict[str, Path] = {}
    for path in paths:
        for file in sorted(file for depth in DEPTHS for file in path.glob(f"{depth}{NAME}")):
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def judge_files(files: Sequence[Path]) -> list[Judged]:
    """The verdicts on the claims in these files, each by the runs beside and below its sweep's folder.

    Raises SpecError for a damaged file, and for a claim about something that the sweep does not have.
    """
    claims = [(Path(os.path.realpath(file)).parent.parent, read(file)) for file in files]
    runs = {out: KnownRuns(out) for out in dict.fromkeys(out for out, _ in claims)}
    return [Judged.of(claimed, runs[out]) for out, claimed in claims]
