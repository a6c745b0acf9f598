"""The section of a page that shows claims with their verdicts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_IN_BRACKETS = r"\([^\s<>\"'()]*\)"
_LINK = re.compile(
    rf"(?P<url>https?://(?:[^\s<>\"'()]|{_IN_BRACKETS})*(?:[^\s<>\"'().,;:!?\]]|{_IN_BRACKETS}))"
    r"|arxiv:\s?(?P<arxiv>\d{4}\.\d{4,5}(?:v\d+)?)",
    re.IGNORECASE,
)
"""A URL, without the punctuation that ends a sentence, or an arXiv number."""
ROOM = 8
"""The room on either side of an interval's figure, in percent of its width."""


@dataclass(frozen=True)
class IntervalBar:
    """A small figure of an interval and of where the claim has it, in percent of the figure's width."""

    low: float
    value: float
    high: float
    claimed: tuple[float, float]
    """Where the interval lies if the claim holds, up to the figure's edge where that has no end."""
    thresholds: tuple[float, ...]
    """The ends of `claimed` within the figure."""


@dataclass(frozen=True)
class ClaimRow:
    """A claim with its verdict, as text."""

    verdict: str
    """`holds`, `fails` or `undecided`."""
    says: str
    test: str
    """What was tested, in a few words."""
    measured: str
    bar: IntervalBar | None
    published: Sequence[str]
    """The source's own figures; may be empty."""
    source: str
    seeds: str
    note: str
    """What decided it; may be empty."""
    needs: str
    """What would settle it, or what is missing; may be empty."""

    @property
    def source_parts(self) -> Iterator[tuple[str, str]]:
        """(text, link) of the parts of the source; URLs and arXiv numbers have a link, other text none."""
        end = 0
        for match in _LINK.finditer(self.source):
            yield self.source[end : match.start()], ""
            yield match[0], match["url"] or f"https://arxiv.org/abs/{match['arxiv']}"
            end = match.end()
        yield self.source[end:], ""


@dataclass(frozen=True)
class ClaimTable:
    """The claims of one sweep."""

    sweep: str
    tally: str
    """How many hold."""
    rows: Sequence[ClaimRow]


def interval_bar(
    low: float | None, value: float | None, high: float | None, claimed: tuple[float, float] | None
) -> IntervalBar | None:
    """The figure of an interval, with some room on both sides; None if one of its parts is unknown.

    `claimed` has the ends between which the claim has the interval, of which one may be infinite.
    """
    if low is None or value is None or high is None or claimed is None:
        return None
    thresholds = [end for end in claimed if math.isfinite(end)]
    ends = [low, value, high, *thresholds]
    left, width = min(ends), max(ends) - min(ends)
    if not 0 < width < math.inf:
        return None

    def percent(number: float) -> float:
        return round(min(max(ROOM + (100 - 2 * ROOM) * (number - left) / width, 0), 100), 1)

    first, last = map(percent, claimed)
    return IntervalBar(
        percent(low), percent(value), percent(high), (first, last), tuple(map(percent, thresholds))
    )
