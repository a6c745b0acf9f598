"""Claims that two points are equivalent: that their scores differ by less than a margin."""

from __future__ import annotations

import math

import numpy as np

from ..spec.claims import Equivalent
from ..text import number
from ..theory.differences import Difference
from ..theory.future import future_seeds
from ..theory.power import needs_of, sentence
from ..theory.ratio import noise_of
from .scores import Scores
from .verdict import Outcome, Verdict, sentences


def judge_equivalent(claim: Equivalent, scores: Scores) -> Verdict:
    """The verdict on a claim that two points differ by less than a margin; its value is the difference.

    It holds where the interval lies within ± the margin, which is two one-sided tests (Schuirmann 1987).
    """
    labels = (claim.point, claim.to)
    missing, seeds = scores.missing(labels), scores.seeds(labels)
    if not scores.have_scores(labels):
        return Verdict(claim, "undecided", seeds=seeds, needs=missing)
    i, k = (scores.positions[label] for label in labels)
    difference = scores.family.difference(i, k)
    margin = margin_of(claim, scores.mean(claim.point), scores.mean(claim.to))
    if difference.level != "specs":
        figures = (difference.value, None, None, seeds, missing, "difference")
        return Verdict(claim, "undecided", *figures, margin=margin)
    verdict, needs = _within(claim, scores, (i, k), difference), ""
    if verdict == "undecided" and scores.explains:
        distance = abs(abs(difference.value) - margin)
        needed = needs_of(difference, future_seeds(scores.family, i, k), distance, present=seeds)
        needs = sentence(difference, needed, "that it is {} from the margin of " + number(margin))
    low, high = difference.interval or (None, None)
    found = (difference.value, low, high, seeds, sentences(missing, needs), "difference")
    return Verdict(claim, verdict, *found, margin=margin)


def margin_of(claim: Equivalent, a: float, b: float) -> float:
    """The margin in units of the score, for two mean scores."""
    if claim.share is not None:
        return claim.share * (abs(a) + abs(b)) / 2
    assert isinstance(claim.margin, float)
    return claim.margin


def _within(claim: Equivalent, scores: Scores, pair: tuple[int, int], difference: Difference) -> Outcome:
    """Whether the interval lies within ± the margin, outside of it, or neither.

    A percentage is one of the measured scores. Its noise is accounted for: at either end, the interval is
    that of the difference less the margin, with the critical values of the pair.
    """
    means = np.array([scores.family.specs[position].mean for position in pair])
    noise = noise_of(scores.family, *pair, difference)
    share = (claim.share or 0.0) / 2 * np.sign(means)
    margin = margin_of(claim, *means.tolist())
    beyond = []
    for sign in (1, -1):  # ± (first − second) less the margin, and the half-width of its interval
        weights = np.array([sign, -sign]) - share
        beyond.append((sign * difference.value - margin, math.sqrt(max(0.0, weights @ noise @ weights))))
    if all(excess + half < 0 for excess, half in beyond):
        return "holds"
    return "fails" if any(excess - half > 0 for excess, half in beyond) else "undecided"
