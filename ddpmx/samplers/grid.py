"""Grids, the indices at which a sampler evaluates: each returns `steps` indices of a table, descending."""

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
    """Decorator that makes a function from (table, steps) to descending indices a value of `sampler.grid`."""

    def add(grid: Grid) -> Grid:
        GRIDS[name] = grid
        return grid

    return add


def _existing(name: str) -> str:
    if name not in GRIDS:
        raise ValueError(f"unknown grid; {nearest(name, GRIDS)}")
    return name


GridName = Annotated[
    str, AfterValidator(_existing), Field(json_schema_extra=lambda schema: schema.update(enum=list(GRIDS)))
]


def descending(timesteps: Sequence[float]) -> tuple[float, ...]:
    """The indices as floats. Raises ValueError for an empty or not strictly descending list."""
    if not timesteps:
        raise ValueError("should have at least one index")
    for before, after in pairwise(timesteps):
        if not after < before:
            raise ValueError(f"should be descending, but {after:g} follows {before:g}")
    return tuple(map(float, timesteps))


def spaced(name: str, table: Table, steps: int | None) -> tuple[float, ...]:
    """The indices of the grid `name`; all T if `steps` is None. Raises SpecError if `steps` is above T."""
    if steps is not None and steps > table.timesteps:
        raise SpecError(
            f"should be at most the schedule's {table.timesteps} timesteps, not {steps}", field="steps"
        )
    return descending(GRIDS[name](table, table.timesteps if steps is None else steps))


# `leading`, `trailing` and `linspace` are diffusers' `timestep_spacing` (Lin et al. 2023, arXiv:2305.08891,
# table 2), with its rounding of halves to even.


@register_grid("all")
def all_indices(table: Table, steps: int) -> Sequence[float]:
    """T−1, T−2, … 0."""
    if steps != table.timesteps:
        raise SpecError(
            f"should be {table.timesteps}, the schedule's timesteps, because the grid is 'all', not {steps}",
            field="steps",
            hint="remove it, or choose another grid",
        )
    return range(steps - 1, -1, -1)


@register_grid("leading")
def leading(table: Table, steps: int) -> Sequence[float]:
    """Multiples of ⌊T/steps⌋, counted up from 0; the first index may be far below T−1."""
    stride = table.timesteps // steps
    return [stride * i for i in reversed(range(steps))]


@register_grid("trailing")
def trailing(table: Table, steps: int) -> Sequence[float]:
    """From T−1 down in strides of T/steps."""
    total = table.timesteps
    stride = total - (total - total / steps)  # rounds like numpy.arange, which decides ties
    return [round(total - stride * i) - 1 for i in range(steps)]


@register_grid("linspace")
def linspace(table: Table, steps: int) -> Sequence[float]:
    """Evenly spaced from T−1 to 0, both included."""
    stride = (table.timesteps - 1) / max(steps - 1, 1)
    return [round(stride * i) for i in reversed(range(steps))]
