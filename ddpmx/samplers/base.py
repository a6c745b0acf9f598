"""What all samplers share. A sampler does not loop: it plans the rows that `ddpmx.sample` runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field

from ..errors import SpecError
from ..predictions import Prediction, as_prediction
from ..registry import Component
from ..rows import Plan, Row
from ..schedules import Table
from .grid import GridName, descending, spaced


class _Own(Enum):
    OWN = "the sampler's own"


OWN = _Own.OWN
"""The default of `plan`'s clip: the sampler's own field. None means no clip."""


@dataclass(frozen=True)
class Point:
    """A place where the network is evaluated: x_t = signal·x_0 + sigma·ε, x_0 = x0_from_x·x_t + x0_from_output·output."""

    t: float
    signal: float
    sigma: float
    x0_from_x: float
    x0_from_output: float


def points(table: Table, prediction: Prediction, timesteps: Sequence[float]) -> list[Point]:
    """The points at these indices, fractional or not.

    Raises SpecError for an index outside the table, and where the prediction does not tell x_0 in float32's range.
    """
    signal, sigma = table.at(torch.tensor(timesteps, dtype=torch.float64))
    from_x, from_output = prediction.x0_from(signal, sigma)
    for t, s, a, b in zip(timesteps, signal.tolist(), from_x.float().tolist(), from_output.float().tolist(), strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            raise SpecError(
                f"the prediction '{prediction.component_name}' does not tell x_0 at index {t:g}, where the signal is {s:g}",
                hint="predict v, or use a schedule that keeps some signal",
            )
    columns = zip(timesteps, signal.tolist(), sigma.tolist(), from_x.tolist(), from_output.tolist(), strict=True)
    return [Point(*column) for column in columns]


class Sampler(Component):
    """Base of all samplers: override `step`, or `rows` for a method that looks further than the next index."""

    steps: int | None = Field(None, ge=1)
    """How many indices the grid has; null: all T."""
    grid: GridName = "trailing"
    """How the indices are spaced; at steps T every spacing here is the same."""
    timesteps: Annotated[tuple[float, ...], AfterValidator(descending)] | None = None
    """The exact indices to evaluate at, descending, fractional if wanted, instead of `steps` and `grid`."""
    clip: float | None = Field(1.0, gt=0)
    """Bounds x_0 to [−clip, clip] in every step; null: no bound. Images are in [−1, 1]."""

    def plan(
        self,
        table: Table,
        prediction: str | Prediction = "epsilon",
        *,
        clip: float | Literal[_Own.OWN] | None = OWN,
        timesteps: Sequence[float] | None = None,
    ) -> Plan:
        """The rows from the first index to the clean image.

        `clip` and `timesteps` replace the sampler's own fields, `clip=None` by no bound. Raises SpecError for more
        steps than the table has, indices out of order or outside the table, and coefficients that are not finite.
        """
        prediction = as_prediction(prediction)
        clip = self.clip if isinstance(clip, _Own) else clip
        if clip is not None and not clip > 0:
            raise SpecError(f"should be greater than 0, not {clip:g}", field="clip")
        try:
            given = self.timesteps if timesteps is None else descending(timesteps)
        except ValueError as error:
            raise SpecError(str(error), field="timesteps") from None
        indices = spaced(self.grid, table, self.steps) if given is None else given
        first = points(table, prediction, indices[:1])[0]
        return Plan(tuple(self.rows(table, prediction, indices)), clip, math.hypot(first.signal, first.sigma))

    def rows(self, table: Table, prediction: Prediction, timesteps: Sequence[float]) -> Iterable[Row]:
        """One row for each index; the last one takes the predicted x_0 as it is: from there on nothing is left to do."""
        path = points(table, prediction, timesteps)
        for here, there in pairwise(path):
            yield self.step(here, there)
        last = path[-1]
        yield Row(last.t, last.x0_from_x, last.x0_from_output, c_x=0.0, c_x0=1.0)

    def step(self, here: Point, there: Point) -> Row:
        """The row that takes x from one point to the next, which has less noise but is not clean."""
        raise NotImplementedError
