"""Claims that a point is better than another one, or than all others."""

from __future__ import annotations

from dataclasses import dataclass

from ..spec.claims import Best, Better
from ..text import number
from ..theory.contrasts import contrast
from ..theory.power import in_words, needs_of, sentence
from ..theory.ratio import ratio_interval
from .scores import Scores
from .verdict import Outcome, Verdict, above, sentences


@dataclass(frozen=True)
class Advantage:
    """How much better a point is than another, as a ratio of their scores, or else as a difference.

    A ratio above 1, or a difference above 0, is in favour of the point.
    """

    outcome: Outcome
    """Of the claim that it is better, by the factor `by` or more."""
    value: float
    low: float | None
    high: float | None
    unit: str
    """`ratio`, or `difference` where a mean score is not positive."""
    pair: tuple[int, int]
    """Positions in the family: the first score should be the larger one."""
    by: float

    @property
    def ends(self) -> tuple[float, float | None, float | None]:
        """(value, low, high)."""
        return self.value, self.low, self.high


def judge_better(claim: Better, scores: Scores) -> Verdict:
    """The verdict on a claim that a point is better than another one."""
    labels = (claim.point, claim.than)
    missing, seeds = scores.missing(labels), scores.seeds(labels)
    if not scores.have_scores(labels):
        return Verdict(claim, "undecided", seeds=seeds, needs=missing)
    found = advantage(scores, claim.point, claim.than, claim.by)
    needs = sentences(missing, _needs(scores, found))
    return Verdict(claim, found.outcome, *found.ends, seeds, needs, found.unit)


def judge_best(claim: Best, scores: Scores) -> Verdict:
    """The verdict on a claim that a point is better than every other; its figures are about one rival.

    That is the rival with the best score: of those that are better, or else of those that it is not shown
    to be better than, or else of all.
    """
    others = [label for label in scores.specs if label != claim.point]
    missing = scores.missing([claim.point, *others])
    seeds = scores.seeds(scores.specs)
    rivals = [label for label in others if label in scores.positions]
    if claim.point not in scores.positions or not rivals:
        needs = missing or "another point to compare with is needed"
        return Verdict(claim, "undecided", seeds=seeds, needs=needs)
    found = {label: advantage(scores, claim.point, label) for label in rivals}
    outcomes = {each.outcome for each in found.values()}
    decisive: Outcome = (
        "fails" if "fails" in outcomes else "undecided" if "undecided" in outcomes else "holds"
    )
    rival = min(
        (label for label in rivals if found[label].outcome == decisive),
        key=lambda label: scores.mean(label) if scores.lower_is_better else -scores.mean(label),
    )
    verdict: Outcome = "undecided" if decisive == "holds" and len(rivals) < len(others) else decisive
    note = f"{rival} is better" if verdict == "fails" else f"the closest rival is {rival}"
    if verdict == "fails":
        seeds = scores.seeds((claim.point, rival))
    would_show = _needs(scores, found[rival])
    needs = sentences(missing, f"{claim.point} and {rival}: {would_show}" if would_show else "")
    return Verdict(claim, verdict, *found[rival].ends, seeds, needs, found[rival].unit, note)


def advantage(scores: Scores, point: str, than: str, by: float = 1.0) -> Advantage:
    """How much better a point is than another, both having scores, and whether by a factor of `by`.

    With `by` 1, it is decided by the interval of the pair, which holds together with those of all pairs.
    """
    family = scores.family
    better, worse = scores.positions[point], scores.positions[than]
    # the score that should be the larger one, less `by` times the other
    i, k = (worse, better) if scores.lower_is_better else (better, worse)
    positive = family.specs[i].mean > 0 and family.specs[k].mean > 0
    if by == 1 or not positive:
        difference = family.difference(i, k)
    else:
        difference = contrast(family, {i: 1.0, k: -by}, scores.alpha).difference
    interval = difference.interval if difference.level == "specs" else None
    outcome = above(0.0, interval)
    low, high = interval or (None, None)
    if not positive:
        outcome = outcome if by == 1 else "undecided"
        return Advantage(outcome, difference.value, low, high, "difference", (i, k), by)
    if interval is not None:
        low, high = ratio_interval(family, i, k, difference, by)
    ratio = family.specs[i].mean / family.specs[k].mean
    return Advantage(outcome, ratio, low, high, "ratio", (i, k), by)


def _needs(scores: Scores, found: Advantage) -> str:
    """What would show which point is better, by the factor in question; empty if that is known."""
    i, k = found.pair
    present = min(scores.family.specs[each].count for each in found.pair)
    if found.outcome != "undecided" or present < 2 or not scores.explains:
        return ""
    if found.by == 1:
        return in_words(scores.family, i, k)
    factor = number(found.by)
    if found.unit != "ratio":
        return f"no score is {factor} times one that is not positive"
    of_factor = contrast(scores.family, {i: 1.0, k: -found.by}, scores.alpha)
    needed = needs_of(of_factor.difference, of_factor.future, None, present)
    names = {position: label for label, position in scores.positions.items()}
    words = sentence(of_factor.difference, needed, "the {} seen")
    return f"{names[i]} less {factor} times {names[k]}: {words}"
