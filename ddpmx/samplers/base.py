"""What all samplers share. A sampler does not loop: it plans the rows that `ddpmx.sample` runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from ..components.registry import Component
from ..errors import SpecError
from ..plugins.expected import described, instance
from ..plugins.guard import Arguments, Contract, Each
from ..predictions import Prediction, as_prediction
from ..rows import DynamicClip, Plan, Row
from ..schedules import Table
from .clip import Clip
from .grid import GridName, descending, spaced
from .path import Path, Point, points


class _Own(Enum):
    OWN = "the sampler's own"


OWN = _Own.OWN
"""The default of `plan`'s clip: the sampler's own field. None means no clip."""


def straight(here: Point, there: Point) -> Row:
    """The row that moves x along a line on which x_0 and ε stay as they are: x' = signal'·x_0 + sigma'·ε.

    Euler's step of the probability-flow ODE, in sigma/signal as well as in x; ddim's with eta 0.
    """
    share = there.sigma / here.sigma
    return Row(
        here.t, here.x0_from_x, here.x0_from_output, c_x=share, c_x0=there.signal - share * here.signal
    )


def clean(here: Point) -> Row:
    """The row that takes the predicted x_0 as it is."""
    return Row(here.t, here.x0_from_x, here.x0_from_output, c_x=0.0, c_x0=1.0)


def _last(indices: tuple[float, ...], strength: float) -> tuple[float, ...]:
    """The share `strength` of the indices at the end."""
    if not 0 < strength <= 1:
        raise SpecError(f"should be above 0 and at most 1, not {strength:g}", field="strength")
    count = int(len(indices) * strength)
    if count == 0:
        raise SpecError(
            f"{strength:g} of {len(indices)} steps leaves none",
            field="strength",
            hint=f"at least {1 / len(indices):.2g}",
        )
    return indices[-count:]


def _row(sampler: Sampler, given: Arguments, row: object) -> str:
    """What is wrong with a row that a plugin plans."""
    if not isinstance(row, Row):
        return f"should give a ddpmx.Row, not {described(row)}"
    single = {
        name: (value,)
        for name, value in vars(row).items()
        if name not in ("c_history", "noise_range", "keep_anchor", "push")
    }
    values = single | {"c_history": row.c_history, "noise_range": row.noise_range or ()}
    for name, numbers in values.items():
        for value in numbers if isinstance(numbers, tuple | list) else (numbers,):
            number = isinstance(value, int | float) or (
                isinstance(value, Tensor) and value.ndim == 0 and not value.requires_grad
            )
            if not number or not math.isfinite(value):
                return f"should give rows of finite numbers, and one has {name} {described(value) if not number else f'{float(value):g}'}"
    return ""


class Sampler(Component):
    """Base of all samplers: override `step`, or `rows` for a method that looks further than the next index."""

    contract: ClassVar[Contract] = {
        "plan": lambda _, given, value: instance(value, Plan),
        "rows": Each(_row),
        "solve": Each(_row),
        "step": _row,
        "finish": _row,
    }

    steps: int | None = Field(None, ge=1)
    """How many indices the grid has; null: all T."""
    grid: GridName = "trailing"
    """How the indices are spaced; at steps T `leading`, `trailing` and `linspace` are all T of them."""
    timesteps: Annotated[tuple[float, ...], AfterValidator(descending)] | None = None
    """The exact indices to evaluate at, descending, fractional if wanted, instead of `steps` and `grid`."""
    clip: Clip = 1.0
    """Bounds x_0 to [−clip, clip] in every step, images being in [−1, 1]; null: no bound; `dynamic` or
    `{name: dynamic, percentile: 0.995}`: each image to that percentile of its |x_0| where it is above 1, then divided by it."""

    @property
    def learns_variance(self) -> bool:
        """Whether the network must tell the variance too, as one of a model with `learned_variance` does."""
        return False

    def fitted(self, timesteps: int) -> Self:
        """The sampler with a number of steps that a schedule of so many timesteps has, where `steps` is a default.

        That is as many as the default says, or all where there are fewer timesteps or the grid takes all.
        """
        if (
            "steps" in self.model_fields_set
            or self.steps is None
            or (self.steps <= timesteps and self.grid != "all")
        ):
            return self
        return self.model_copy(update={"steps": timesteps})

    def plan(
        self,
        table: Table,
        prediction: str | Prediction = "epsilon",
        *,
        clip: float | DynamicClip | Literal[_Own.OWN] | None = OWN,
        timesteps: Sequence[float] | None = None,
        strength: float = 1.0,
    ) -> Plan:
        """The rows from the first index to the clean image.

        `clip` and `timesteps` replace the sampler's own fields, `clip=None` by no bound. `strength` below 1 leaves out the first
        indices, for changing an image instead of drawing one: ⌊strength·n⌋ of the n stay (Meng et al. 2021, arXiv:2108.01073,
        with diffusers' rounding).

        Raises SpecError for more steps than the table has, indices out of order or outside the table, coefficients that are
        not finite, and a strength that leaves no index.
        """
        prediction = as_prediction(prediction)
        clip = self.clip if isinstance(clip, _Own) else clip
        if isinstance(clip, float | int) and not clip > 0:
            raise SpecError(f"should be greater than 0, not {clip:g}", field="clip")
        try:
            given = self.timesteps if timesteps is None else descending(timesteps)
        except ValueError as error:
            raise SpecError(str(error), field="timesteps") from None
        indices = _last(
            spaced(self.grid, table, self.fitted(table.timesteps).steps) if given is None else given, strength
        )
        rows = tuple(self.rows(table, prediction, indices))
        signal, sigma = table.at(torch.tensor([row.t for row in rows], dtype=torch.float64))
        levels = tuple(zip(signal.tolist(), sigma.tolist(), strict=True))
        return Plan(rows, clip, math.hypot(*levels[0]), levels)

    def rows(self, table: Table, prediction: Prediction, timesteps: Sequence[float]) -> Iterable[Row]:
        """One row for each index; the last one takes the predicted x_0 as it is: from there on nothing is left to do."""
        path = points(table, prediction, timesteps)
        for here, there in pairwise(path):
            yield self.step(here, there)
        yield clean(path[-1])

    def step(self, here: Point, there: Point) -> Row:
        """The row that takes x from one point to the next, which has less noise but is not clean."""
        raise NotImplementedError


class Solver(Sampler):
    """Base of the methods that integrate over log-SNR: override `solve`."""

    steps: int | None = Field(50, ge=1)
    """How many indices the grid has; null: all T."""

    def rows(self, table: Table, prediction: Prediction, timesteps: Sequence[float]) -> Iterable[Row]:
        """The rows of each step; one that the method cannot take, from or to infinite log-SNR, is a straight line."""
        path = Path(table, prediction, timesteps)
        for i in range(len(path) - 1):
            if self.takes(path, i):
                yield from self.solve(path, i)
            else:
                yield straight(path[i], path[i + 1])
        yield self.finish(path)

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        """The rows from the i-th point to the next: one for each network evaluation."""
        raise NotImplementedError

    def takes(self, path: Path, i: int) -> bool:
        """Whether `solve` can take the step from the i-th point: whether the log-SNR of both its ends is finite."""
        return path[i].inside and path[i + 1].inside

    def finish(self, path: Path) -> Row:
        """The row from the last point to the clean image."""
        return clean(path[len(path) - 1])
