"""The verdict on a claim, and the rule by which an interval decides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..spec.claims import Claim
from ..theory.estimate import Interval

Outcome = Literal["holds", "fails", "undecided"]
_COMMON = ("says", "source", "published", "test", "measure")


@dataclass(frozen=True)
class Verdict:
    """What the runs say about a claim."""

    claim: Claim
    """The claim."""
    verdict: Outcome
    """`undecided` where neither the claim nor its opposite is shown."""
    value: float | None = None
    """The measured figure, in `unit`; None without scores."""
    low: float | None = None
    """The lower end of its interval; None where it has none."""
    high: float | None = None
    """The upper end of its interval; None where it has none."""
    seeds: int = 0
    """The smallest number of seeds of any point behind it; 0 without runs."""
    needs: str = ""
    """What would settle it, or what is missing; empty if nothing is."""
    unit: str = ""
    """What `value` is: a ratio, a difference, …"""
    note: str = ""
    """What decided it, where `value` does not show that."""
    margin: float | None = None
    """The margin of `equivalent` in units of the score; None where there are no scores, or is no margin."""

    def to_json(self) -> dict[str, object]:
        """As JSON types; `about` has the claim's other keys."""
        claim = self.claim.model_dump(mode="json")
        return {
            **{key: claim[key] for key in _COMMON},
            "about": {key: value for key, value in claim.items() if key not in _COMMON},
            "verdict": self.verdict,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "seeds": self.seeds,
            "needs": self.needs,
            "note": self.note,
            "margin": self.margin,
        }


def above(bound: float, interval: Interval | None) -> Outcome:
    """`holds` if the interval lies above the bound, `fails` if below it, `undecided` if on both sides."""
    if interval is None or interval[0] <= bound <= interval[1]:
        return "undecided"
    return "holds" if interval[0] > bound else "fails"


def sentences(*parts: str) -> str:
    """Parts of `needs` that are not empty, as one text."""
    return "; ".join(part for part in parts if part)
