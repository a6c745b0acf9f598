"""Claims that a point's training is unstable, by the trainer's own verdict in each run."""

from __future__ import annotations

from ..comparison.results import Run
from ..spec.claims import Unstable
from ..text import listed
from .points import Point
from .verdict import Outcome, Verdict

MOST_SEEDS = 10
"""Missing seeds that a sentence names."""


def judge_unstable(claim: Unstable, point: Point) -> Verdict:
    """The verdict on a claim that a point's training is unstable in every seed."""
    found: dict[int, bool] = {}
    for run in point.own:
        diverged = has_diverged(run)
        if run.is_finished or diverged:
            found[run.seed] = found.get(run.seed, False) or diverged or run.was_unstable
    value = sum(found.values()) / len(found) if found else None
    missing = [str(seed) for seed in point.seeds if seed not in found]
    verdict: Outcome = "holds" if value == 1 else "fails" if value == 0 else "undecided"
    needs = ""
    if missing:
        seeds = f"{'seed' if len(missing) == 1 else 'seeds'} {listed(missing, MOST_SEEDS)}"
        verdict, needs = "undecided", f"finished runs of {point.label} with {seeds} are needed"
    return Verdict(claim, verdict, value, value, value, len(found), needs, "share of unstable seeds")


def has_diverged(run: Run) -> bool:
    """Whether the run failed because its training diverged."""
    if run.status != "failed":
        return False
    return any(event.get("action") == "stop" for event in run.folder.events("diverged"))
