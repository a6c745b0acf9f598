"""A metric over what its measurements differ in, as JSON and for figures and tables."""

from __future__ import annotations

from dataclasses import dataclass

from .varied import Point, Varied


@dataclass(frozen=True)
class Placed:
    """A point with its place in the figure."""

    point: Point
    """The measured value."""
    name: str
    """The point in words, such as `ddim with 10`."""
    line: str
    """The line that it belongs to, such as `ddim`."""
    x: float | None
    """Its position, above 0; None for a point without one, which becomes a horizontal line."""


@dataclass(frozen=True)
class Quality:
    """A metric over what its measurements differ in."""

    varied: Varied
    """The measurements."""
    placed: tuple[Placed, ...]
    """The points by line and ascending x."""
    over: str
    """What x is, such as `network evaluations per image`."""
    column: str
    """A short heading for x, such as `evaluations`."""
    sentence: str
    """The result in words."""

    @property
    def best(self) -> Point:
        """The point with the best value."""
        return self.varied.points[self.varied.best]

    @property
    def lines(self) -> dict[str, list[Placed]]:
        """The points of each line."""
        return {
            name: [one for one in self.placed if one.line == name]
            for name in dict.fromkeys(one.line for one in self.placed)
        }


def data(quality: Quality) -> dict[str, object]:
    """The curve as JSON types."""
    return {
        "metric": quality.varied.metric,
        "better": quality.varied.better,
        "field": quality.varied.block,
        "over": quality.over,
        "seeds": list(quality.varied.seeds),
        "samples": quality.varied.shared.samples,
        "summary": quality.sentence,
        "points": [_point(one, quality) for one in quality.placed],
    }


def _point(one: Placed, quality: Quality) -> dict[str, object]:
    low, high = one.point.estimate.interval or (None, None)
    return {
        "setting": one.point.setting,
        "x": one.x,
        "value": one.point.estimate.value,
        "low": low,
        "high": high,
        "best": one.point is quality.best,
        "within_noise": one.point is quality.best or one.point.is_near,
    }
