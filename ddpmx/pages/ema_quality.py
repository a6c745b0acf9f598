"""Quality along the EMA length: averages of different relative widths of the same training."""

from __future__ import annotations

from collections.abc import Sequence

from ..text import listed
from ..theory.estimate import amount
from .quality import Placed, Quality
from .varied import EMA, Network, Varied, varied

LENGTH = "EMA length σ_rel"
AVERAGES, OWN, PLAIN = "averages", "the run's own average", "plain weights"
MOST_NAMED = 6
"""Most lengths that a sentence names for one reason."""


def ema_qualities(networks: Sequence[Network]) -> list[Quality]:
    """The metrics that were measured with several EMA lengths, at least one of them a width."""
    return [_quality(one) for one in varied(networks, EMA) if any(point.setting for point in one.points)]


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
    end = f"; on {one.networks}."
    return f"{one.metric} by EMA length: {'; '.join(parts)}{end}"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
