"""A metric's value, with the facts needed to judge and to compare it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from torch import Tensor

from ..images import Picture

Draws = Literal["halves", "images"]
"""What the values behind an interval belong to: random halves of the generated images, or real images."""


@dataclass(frozen=True)
class Score:
    """One number about a model.

    Two are comparable if better, n, split, extractor and preprocessing are equal.
    """

    value: float
    """The measured number."""
    better: Literal["lower", "higher"]
    """The direction in which models improve."""
    n: int
    """Number of generated images measured."""
    seed: int
    """Seed of the noise that the images were generated from."""
    split: str | None = None
    """Split of the real images compared with; None if there are none."""
    extractor: str | None = None
    """First 16 hex digits of the sha256 of the feature network's weights; None if no network is used."""
    preprocessing: str = ""
    """How pixels are converted for that network."""
    interval: tuple[float, float] | None = None
    """95 % interval of the mean value over draws of n images from this model, for the same real images."""
    interval_note: str = ""
    """How the interval was computed, or why there is none."""
    floor: float | None = None
    """The same number for `floor_n` real images in place of generated ones: the score of a perfect model."""
    floor_n: int = 0
    """Number of real images behind the floor: n, or fewer if no split has so many."""
    floor_split: str | None = None
    """The split of these images; None if there is no floor, or if that is not known."""
    depends_on_n: bool = True
    """Whether the mean value depends on n, as that of a Fréchet distance does: a floor of another n is then
    not comparable with the value."""
    facts: Mapping[str, int | float | str] = field(default_factory=dict)
    """What has to be read beside the value, by its name in words, such as the number of training images.
    Scores with other facts are still comparable, and a comparison says where they differ."""
    metric: Mapping[str, object] | None = None
    """The block of the metric, as a spec has it; filled in when the score is stored."""
    values: Tensor | None = field(default=None, compare=False, repr=False)
    """The values that the interval comes from, float [B]: the score of each of `metrics.halves.halves(n)`, or
    one value per real image, whose mean is `value`. Two models' differences are measured with them. Not part
    of `fields`."""
    values_of: Draws = "halves"
    """What `values` belong to."""
    picture: Picture | None = field(default=None, compare=False, repr=False)
    """Images to look at beside the value, for the run's report. Not part of `fields`."""

    def fields(self) -> dict[str, object]:
        """The fields as JSON types, for metrics.jsonl."""
        stored = {
            item.name: getattr(self, item.name) for item in fields(self) if item.name not in _NOT_STORED
        }
        return {
            **stored,
            "interval": None if self.interval is None else list(self.interval),
            "facts": dict(self.facts),
        }


_NOT_STORED = ("values", "values_of", "picture")
"""Fields that are not written to metrics.jsonl."""


def variance_facts(error: float | None) -> dict[str, int | float | str]:
    """How well the variances of a chain are known, as a fact; none if they are not estimated.

    In one digit, because facts are compared.
    """
    return {} if error is None else {"error of σ²": f"{error:.0e}"}


def finite(scores: Mapping[str, Score], warn: Callable[[str], None]) -> dict[str, Score]:
    """The scores with finite values; `warn` reports the others.

    An interval or floor that is not finite is dropped.
    """
    kept = {}
    for name, score in scores.items():
        if not math.isfinite(score.value):
            warn(f"{name} is {score.value}: a score that is not finite is left out")
            continue
        if score.interval is not None and not all(map(math.isfinite, score.interval)):
            score = replace(score, interval=None, interval_note="its bounds are not finite")
        if score.floor is not None and not math.isfinite(score.floor):
            score = replace(score, floor=None, floor_n=0, floor_split=None)
        kept[name] = score
    return kept
