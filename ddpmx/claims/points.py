"""A sweep's points with their runs, and what is missing for a score of every seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ..comparison.results import Run
from ..text import listed

MOST_NAMES = 6
"""Labels that a phrase names."""


class Gap(NamedTuple):
    """Seeds of a point without a score that can be used."""

    missing: int
    """How many."""
    seeds: int
    """Of how many."""
    why: str
    """What they are or lack, as the end of a sentence."""


@dataclass(frozen=True)
class Point:
    """A spec of a sweep, with its runs."""

    label: str
    """Its name without the sweep's name and the seed."""
    spec: Mapping[str, object]
    """The resolved spec; name, seed and track may be left out."""
    seeds: tuple[int, ...]
    """The sweep's own seeds."""
    runs: tuple[Run, ...]
    """The runs of the spec, of any status."""

    @cached_property
    def own(self) -> tuple[Run, ...]:
        """Its runs with the sweep's own seeds."""
        return tuple(run for run in self.runs if run.seed in self.seeds)

    def gaps(self, measure: str, used: Collection[int], mark: str) -> tuple[Gap, ...]:
        """Which of its seeds have no score that can be used, and why; empty if all have.

        `used` are those that have; `mark` says why others are not comparable, if it is known.
        """
        finished = [run for run in self.own if run.is_finished]
        done = {run.seed for run in finished}
        measured = {run.seed for run in finished if measure in run.results}
        left = [seed for seed in self.seeds if seed not in used]
        otherwise = f"measured {measure} in another way" + (f" ({mark})" if mark and finished else "")
        reasons = (
            ([seed for seed in left if seed not in done], "is not finished", "are not finished"),
            ([seed for seed in left if seed in done - measured], f"has no {measure}", f"have no {measure}"),
            ([seed for seed in left if seed in measured], otherwise, otherwise),
        )
        return tuple(
            Gap(len(seeds), len(self.seeds), one if len(seeds) == 1 else several)
            for seeds, one, several in reasons
            if seeds
        )


def in_words(gaps: Mapping[str, Sequence[Gap]]) -> list[str]:
    """What points lack, by label, with a phrase for all points that lack the same."""
    alike: dict[Gap, list[str]] = {}
    for label, of_point in gaps.items():
        for gap in of_point:
            alike.setdefault(gap, []).append(label)
    return [
        f"{gap.missing} of {gap.seeds} seeds {'each ' * (len(labels) > 1)}of {listed(labels, MOST_NAMES)} "
        f"{gap.why}"
        for gap, labels in alike.items()
    ]
