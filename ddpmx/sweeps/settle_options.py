"""The options of `--until-settled`: which measure decides, the margin, the most seeds, and the time."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ..errors import SpecError
from ..text import shortened
from ..theory.sequential import Settling

MARGIN, MAX_SEEDS = "10%", 16
"""The defaults."""
MOST_SEEDS = 64
"""The most seeds that may be asked for: as many as a comparison's needs are given up to."""
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
"""Seconds of the units of a budget."""


@dataclass(frozen=True)
class Margin:
    """Differences within ± this are of no interest."""

    value: float
    """Above 0; at most 1 if `relative`."""
    relative: bool
    """Whether it is a share of the mean of a pair's scores, or else in units of the score."""

    @classmethod
    def parse(cls, text: str) -> Margin:
        """`10%`, a share of the mean of a pair's scores, or a number such as `0.5`, in units of the score."""
        relative = text.strip().endswith("%")
        try:
            value = float(text.strip().removesuffix("%"))
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf or (relative and value > 100):
            message = (
                f"'{shortened(text)}' should be above 0 % and at most 100 %, such as 10%, "
                "or a number above 0 in units of the score"
            )
            raise SpecError(message, field="--margin")
        return cls(value / 100 if relative else value, relative)


@dataclass(frozen=True)
class SettleOptions:
    """The options of `--until-settled`."""

    measure: str | None = None
    """The measure that decides; None for the first metric of the spec."""
    margin: Margin = Margin(0.1, True)
    max_seeds: int = MAX_SEEDS
    """The most seeds of a spec, at least 2."""
    budget: float | None = None
    """Seconds after which no run is started."""

    @property
    def rule(self) -> Settling:
        """The rule by which pairs are settled."""
        return Settling(self.margin.value, self.max_seeds, self.margin.relative)


def settle_options(
    measure: str | None, margin: str | None, max_seeds: int | None, budget: str | None
) -> SettleOptions:
    """The options as they are given on the command line; None for the default. Raises SpecError."""
    most = MAX_SEEDS if max_seeds is None else max_seeds
    if not 2 <= most <= MOST_SEEDS:
        message = f"{most} should be from 2 to {MOST_SEEDS}: a spread over seeds needs two of them"
        raise SpecError(message, field="--max-seeds")
    return SettleOptions(
        measure,
        Margin.parse(MARGIN if margin is None else margin),
        most,
        None if budget is None else seconds(budget),
    )


def seconds(budget: str) -> float:
    """The seconds of a budget such as `2h`, `30m`, `90s` or `1.5h`. Raises SpecError."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smhd])", budget.strip())
    value = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < value < math.inf:
        message = f"'{shortened(budget)}' should be a time above 0, such as 2h, 30m, 90s or 1.5h"
        raise SpecError(message, field="--budget")
    return value
