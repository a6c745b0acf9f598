"""Verdicts in words: the measured figure, the published ones, and how many claims hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..spec.claims import Best, Better, Claim, Equals, Equivalent, Trend, Unstable
from ..text import listed, number
from ..theory.estimate import Estimate, amount
from .verdict import Verdict

NONE = "–"
"""What stands for a figure that there is not."""
FORMS = (
    ("holds", "holds", "hold"),
    ("fails", "fails", "fail"),
    ("undecided", "is undecided", "are undecided"),
)
"""The verdicts, as said of one claim and of several."""


def tested(claim: Claim) -> str:
    """What a claim's test is about, such as `l1 better than l2 by fd_cnn`."""
    if isinstance(claim, Better):
        factor = f" by a factor of {number(claim.by)}" if claim.by != 1 else ""
        return f"{claim.point} is better than {claim.than}{factor} ({claim.measure})"
    if isinstance(claim, Best):
        return f"{claim.point} is the best ({claim.measure})"
    if isinstance(claim, Trend):
        return f"{claim.measure} {claim.direction} as {claim.field} grows"
    if isinstance(claim, Equivalent):
        margin = claim.margin if isinstance(claim.margin, str) else number(claim.margin)
        return f"{claim.point} and {claim.to} differ by less than {margin} ({claim.measure})"
    if isinstance(claim, Equals):
        return f"{claim.measure} of {claim.point} is {number(claim.value)} ± {number(claim.within)}"
    return f"the training of {claim.point} is unstable"


def measured(verdict: Verdict) -> str:
    """The figure that a verdict rests on, such as `ratio 1.2 [1.1, 1.3] of fd_cnn`."""
    claim = verdict.claim
    if verdict.value is None:
        return NONE
    if isinstance(claim, Unstable):
        return f"unstable in {round(verdict.value * verdict.seeds)} of {verdict.seeds} seeds"
    ends = None if verdict.low is None or verdict.high is None else (verdict.low, verdict.high)
    figure = amount(Estimate(verdict.value, ends)).replace("-", "−")
    return (
        f"{claim.measure} {figure}"
        if isinstance(claim, Equals)
        else f"{verdict.unit} {figure} of {claim.measure}"
    )


def published(value: object) -> str:
    """The source's own figures, on one line."""
    return "; ".join(published_items(value)) or NONE


def published_items(value: object) -> list[str]:
    """The source's own figures, each as text; empty if there are none."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [f"{key}: {', '.join(published_items(item))}" for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [", ".join(published_items(item)) for item in value]
    return [number(value)]


def tally(verdicts: Sequence[Verdict]) -> str:
    """How many claims have which verdict: `2 hold, 1 fails and 1 is undecided`."""
    counts = Counter[str](verdict.verdict for verdict in verdicts)
    parts = [
        f"{counts[verdict]} {one if counts[verdict] == 1 else several}"
        for verdict, one, several in FORMS
        if counts[verdict]
    ]
    return listed(parts, len(FORMS))
