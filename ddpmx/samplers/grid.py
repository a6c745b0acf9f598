"""Which indices a sampler evaluates at. Each grid gives `steps` indices of a table, descending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from ..errors import SpecError, nearest
from ..schedules import Table

Grid = Callable[[Table, int], Sequence[float]]
GRIDS: dict[str, Grid] = {}


def register_grid(name: str) -> Callable[[Grid], Grid]:
    """Decorator: makes a function from (table, steps) to descending indices a value of `sampler.grid`."""

    def add(grid: Grid) -> Grid:
        GRIDS[name] = grid
        return grid

    return add


def _known(name: str) -> str:
    if name not in GRIDS:
        raise ValueError(f"unknown grid; {nearest(name, GRIDS)}")
    return name


GridName = Annotated[
    str, AfterValidator(_known), Field(json_schema_extra=lambda schema: schema.update(enum=list(GRIDS)))
]


def descending(timesteps: Sequence[float]) -> tuple[float, ...]:
    """The same indices, at least one, each smaller than the one before it; ValueError otherwise."""
    if not timesteps:
        raise ValueError("should have at least one index")
    for before, after in pairwise(timesteps):
        if not after < before:
            raise ValueError(f"should be descending, but {after:g} follows {before:g}")
    return tuple(map(float, timesteps))


def spaced(name: str, table: Table, steps: int | None) -> tuple[float, ...]:
    """The indices of the grid `name`, all T of them when `steps` is None. SpecError when `steps` is more than T."""
    if steps is not None and steps > table.timesteps:
        raise SpecError(
            f"should be at most the schedule's {table.timesteps} timesteps, not {steps}", field="steps"
        )
    return descending(GRIDS[name](table, table.timesteps if steps is None else steps))


# The three spacings below are those of diffusers' `timestep_spacing` (Lin et al. 2023, arXiv:2305.08891, table 2),
# with its rounding, half to even.


@register_grid("all")
def every(table: Table, steps: int) -> Sequence[float]:
    """T−1, T−2, … 0."""
    if steps != table.timesteps:
        raise SpecError(
            f"the grid 'all' takes all {table.timesteps} timesteps, not {steps}",
            field="steps",
            hint="leave it out, or choose another grid",
        )
    return range(steps - 1, -1, -1)


@register_grid("leading")
def leading(table: Table, steps: int) -> Sequence[float]:
    """Multiples of ⌊T/steps⌋ from 0 up; may stop far from T−1."""
    stride = table.timesteps // steps
    return [stride * i for i in reversed(range(steps))]


@register_grid("trailing")
def trailing(table: Table, steps: int) -> Sequence[float]:
    """From T−1 down by T/steps."""
    total = table.timesteps
    stride = total - (total - total / steps)  # rounded as numpy.arange rounds it, which decides the ties
    return [round(total - stride * i) - 1 for i in range(steps)]


@register_grid("linspace")
def linspace(table: Table, steps: int) -> Sequence[float]:
    """Evenly from T−1 to 0, both included."""
    stride = (table.timesteps - 1) / max(steps - 1, 1)
    return [round(stride * i) for i in reversed(range(steps))]
