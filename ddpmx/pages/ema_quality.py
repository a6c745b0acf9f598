"""Quality along the EMA length: averages of different relative widths of the same training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..text import listed
from ..theory.estimate import amount
from .quality import Placed, Quality
from .varied import EMA, Network, Varied, varied

VALIDATION = "validation"
LENGTH = "EMA length σ_rel"
AVERAGES, OWN, PLAIN = "averages", "the run's own average", "plain weights"
MOST_NAMED = 6
"""Most lengths that a sentence names for one reason."""


def ema_qualities(networks: Sequence[Network]) -> list[Quality]:
    """The metrics that were measured with several EMA lengths, at least one of them a width.

    Where a metric compares with validation images in one curve and with others in another, the second says
    what the length chosen on the first has there: the best of many looks better on the images that chose it.
    """
    found = [_quality(one) for one in varied(networks, EMA) if any(point.setting for point in one.points)]
    chosen = {one.varied.metric: one for one in found if _split(one) == VALIDATION}
    return [
        replace(one, sentence=f"{one.sentence} {text}")
        if (text := _reported(chosen.get(one.varied.metric), one))
        else one
        for one in found
    ]


def _split(quality: Quality) -> str:
    """The split of the real images that the metric compares with; empty if there is none."""
    score = quality.best.measurements[0].score
    return (score["split"] or "") if score else ""


def _reported(chosen: Quality | None, other: Quality) -> str:
    """What the best length on validation images has on other images; empty where it was not measured."""
    if chosen is None or _split(other) in (VALIDATION, ""):
        return ""
    found = [each for each in other.placed if each.point.setting == chosen.best.setting]
    if not found:
        return ""
    value = amount(found[0].point.estimate)
    return f"Chosen on validation images: {found[0].name}, which has {value} on {_split(other)} images."


def _quality(one: Varied) -> Quality:
    end = max(measured.step for point in one.points if point.setting for measured in point.measurements)
    placed = []
    for point in one.points:
        std = point.setting if isinstance(point.setting, int | float) else None
        if std:
            placed.append(Placed(point, f"{std:g}", AVERAGES, float(std)))
        else:
            steps = {measured.step for measured in point.measurements} - {end}
            name = (OWN if std is None else PLAIN) + (f" (step {min(steps):,})" if steps else "")
            placed.append(Placed(point, name, name, None))
    placed.sort(key=lambda each: (each.x is None, each.x or 0, each.line))
    return Quality(one, tuple(placed), LENGTH, "σ_rel", _sentence(one, placed))


def _sentence(one: Varied, placed: Sequence[Placed]) -> str:
    best = next(each for each in placed if each.point is one.points[one.best])
    value = amount(best.point.estimate)
    others = [each for each in placed if each is not best]
    near = [each.name for each in others if each.point.is_near]
    far = [each.name for each in others if each.point.is_near is False]
    parts = [f"{best.name} is best, {value}" if not near else f"{best.name} has the best value, {value}"]
    if near:
        parts.append(f"{listed(near, MOST_NAMED)} {_is(near)} within noise of it")
    if far:
        parts.append(f"{listed(far, MOST_NAMED)} {_is(far)} worse by more than noise")
    if not near and not far:
        parts.append(one.untested)
    score = one.points[one.best].measurements[0].score
    images = f" on {VALIDATION} images" if score and score["split"] == VALIDATION else ""
    end = f"; on {one.networks}."
    return f"{one.metric}{images} by EMA length: {'; '.join(parts)}{end}"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
