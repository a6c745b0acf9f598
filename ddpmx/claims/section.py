"""Claims and their verdicts as a page shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from ..pages.claims import ClaimRow, ClaimTable, interval_bar
from ..spec.claims import Best, Better, Equals, Equivalent, Trend
from .judged import Judged, files_of_claims, judge_files
from .verdict import Verdict
from .words import NONE, measured, published_items, tally, tested


def tables_of(folders: Iterable[Path]) -> list[ClaimTable]:
    """The claims of the sweeps in these folders; see `judged.files_of_claims`."""
    return [table_of(judged) for judged in judge_files(files_of_claims(folders))]


def table_of(judged: Judged) -> ClaimTable:
    """The claims of a sweep."""
    return ClaimTable(judged.sweep, tally(judged.verdicts), [_row(verdict) for verdict in judged.verdicts])


def _row(verdict: Verdict) -> ClaimRow:
    claim = verdict.claim
    return ClaimRow(
        verdict.verdict,
        claim.says,
        tested(claim),
        measured(verdict),
        interval_bar(verdict.low, verdict.value, verdict.high, _claimed(verdict)),
        published_items(claim.published),
        claim.source,
        NONE if isinstance(claim, Equals) else str(verdict.seeds),
        verdict.note,
        verdict.needs,
    )


def _claimed(verdict: Verdict) -> tuple[float, float] | None:
    """The ends between which the interval lies if the claim holds; None for a claim without an interval."""
    claim = verdict.claim
    if isinstance(claim, Equivalent):
        return None if verdict.margin is None else (-verdict.margin, verdict.margin)
    if isinstance(claim, Trend):
        return (0.0, math.inf) if claim.direction == "rises" else (-math.inf, 0.0)
    if isinstance(claim, Better | Best) and verdict.unit == "ratio":
        return (claim.by if isinstance(claim, Better) else 1.0, math.inf)
    return (0.0, math.inf) if isinstance(claim, Better | Best) else None
