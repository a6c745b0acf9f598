"""A measured number with what it takes to trust it and to compare it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Score:
    """One number about a model. Two are comparable where better, n, split, extractor and preprocessing are equal."""

    value: float
    better: Literal["lower", "higher"]
    n: int
    """Generated images behind it."""
    seed: int
    """Of the noise that they were drawn from."""
    split: str | None = None
    """Of the real images that they were compared with; None: with none."""
    extractor: str | None = None
    """The first 16 hex digits of the sha256 of the weights of the network whose features were measured; None: no network."""
    preprocessing: str = ""
    """How pixels reach that network."""
    interval: tuple[float, float] | None = None
    """95 %: where the value lies on average over draws of n images from this model, the real ones held fixed."""
    interval_note: str = ""
    """How the interval was made, or why there is none."""
    floor: float | None = None
    """The same number for `floor_n` real images instead of generated ones: what a perfect model would get."""
    floor_n: int = 0
    """n, or fewer where the split is too small."""

    def fields(self) -> dict[str, object]:
        """For metrics.jsonl: JSON types only."""
        return {**asdict(self), "interval": None if self.interval is None else list(self.interval)}


def finite(scores: Mapping[str, Score], warn: Callable[[str], None]) -> dict[str, Score]:
    """The scores that are numbers; `warn` is told of the others. An interval or floor that is no number is dropped too."""
    kept = {}
    for name, score in scores.items():
        if not math.isfinite(score.value):
            warn(f"{name} is {score.value}, which is no score: it is left out")
            continue
        if score.interval is not None and not all(map(math.isfinite, score.interval)):
            score = replace(score, interval=None, interval_note="its bounds are not finite")
        if score.floor is not None and not math.isfinite(score.floor):
            score = replace(score, floor=None, floor_n=0)
        kept[name] = score
    return kept
