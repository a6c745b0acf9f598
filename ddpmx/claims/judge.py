"""The judge: the verdict on each claim about a sweep's points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..spec.claims import Best, Better, Claim, Equals, Equivalent, Trend, Unstable
from .computed import judge_equals
from .equivalence import judge_equivalent
from .instability import judge_unstable
from .pairs import judge_best, judge_better
from .points import Point
from .scores import Scores, levels_of, scores_on
from .trend import judge_trend
from .verdict import Verdict, sentences


def judge(claims: Sequence[Claim], points: Sequence[Point]) -> list[Verdict]:
    """The verdict on each claim, in their order. `claims` passed `spec.claim_checks.check` for these points.

    Any of the verdicts that rest on scores is wrong with a probability of at most 5 %.
    """
    by_label = {point.label: point for point in points}
    scores = {measure: scores_on(measure, points, levels) for measure, levels in levels_of(claims).items()}
    return [_judge(claim, by_label, scores) for claim in claims]


def judge_scores(claim: Better | Best | Equivalent | Trend, scores: Scores) -> Verdict:
    """The verdict on a claim about the scores on its measure; its note says if they differ in a condition."""
    if isinstance(claim, Better):
        found, differing = judge_better(claim, scores), scores.differing((claim.point, claim.than))
    elif isinstance(claim, Best):
        found, differing = judge_best(claim, scores), scores.differing(scores.specs)
    elif isinstance(claim, Equivalent):
        found, differing = judge_equivalent(claim, scores), scores.differing((claim.point, claim.to))
    else:
        found, differing = judge_trend(claim, scores), scores.differing(scores.specs, claim.field)
    return replace(found, note=sentences(found.note, differing)) if differing else found


def _judge(claim: Claim, points: dict[str, Point], scores: dict[str, Scores]) -> Verdict:
    if isinstance(claim, Equals):
        return judge_equals(claim, points[claim.point])
    if isinstance(claim, Unstable):
        return judge_unstable(claim, points[claim.point])
    return judge_scores(claim, scores[claim.measure])
