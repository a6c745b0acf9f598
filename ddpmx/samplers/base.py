"""The base of all samplers. A sampler does not loop: it plans the rows that `ddpmx.sample` runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import AfterValidator, Field, PrivateAttr
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
from .moments import Moments
from .path import Path, Point, points


class _Unset(Enum):
    UNSET = "the sampler's own field"


UNSET = _Unset.UNSET
"""The default of the argument `clip` of `plan`: use the sampler's field. None means no bound."""


def straight(here: Point, there: Point) -> Row:
    """The row that moves x in a straight line, with x_0 and ε held fixed: x' = signal'·x_0 + sigma'·ε.

    It is Euler's step of the probability-flow ODE, both for x and for x/signal, and ddim's step at eta 0.
    """
    # With ε = (x − signal·x_0)/sigma and ratio = sigma'/sigma: x' = ratio·x + (signal' − ratio·signal)·x_0
    ratio = there.sigma / here.sigma
    return Row(
        here.t, here.x0_from_x, here.x0_from_output, c_x=ratio, c_x0=there.signal - ratio * here.signal
    )


def clean(here: Point) -> Row:
    """The row whose result is the predicted x_0 itself."""
    return Row(here.t, here.x0_from_x, here.x0_from_output, c_x=0.0, c_x0=1.0)


def _last(indices: tuple[float, ...], strength: float) -> tuple[float, ...]:
    """The last ⌊strength·n⌋ of the n indices."""
    if not 0 < strength <= 1:
        raise SpecError(f"should be above 0 and at most 1, not {strength:g}", field="strength")
    count = int(len(indices) * strength)
    if count == 0:
        raise SpecError(
            f"should keep at least one of the {len(indices)} steps, which {strength:g} does not",
            field="strength",
            hint=f"use at least {1 / len(indices):.2g}",
        )
    return indices[-count:]


def _row_problem(sampler: Sampler, arguments: Arguments, row: object) -> str:
    """The problem with a row that a plugin plans; empty if none."""
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
            is_number = isinstance(value, int | float) or (
                isinstance(value, Tensor) and value.ndim == 0 and not value.requires_grad
            )
            if not is_number or not math.isfinite(value):
                actual = f"{float(value):g}" if is_number else described(value)
                return f"should give rows of finite numbers, but {name} of one is {actual}"
    return ""


class Sampler(Component):
    """Base of all samplers: override `step`, or `rows` if the method needs more than the next index."""

    contract: ClassVar[Contract] = {
        "plan": lambda _, arguments, value: instance(value, Plan),
        "rows": Each(_row_problem),
        "solve": Each(_row_problem),
        "step": _row_problem,
        "finish": _row_problem,
    }

    steps: int | None = Field(None, ge=1)
    """Number of indices on the grid; null: all T."""
    grid: GridName = "trailing"
    """Spacing of the indices. With T steps, `leading`, `trailing` and `linspace` contain every index."""
    timesteps: Annotated[tuple[float, ...], AfterValidator(descending)] | None = None
    """The exact indices to evaluate at, instead of `steps` and `grid`: descending; they may be fractional."""
    clip: Clip = 1.0
    """Bounds x_0 to [−clip, clip] in every step (images are in [−1, 1]); null: no bound. `dynamic`, or
    `{name: dynamic, percentile: 0.995}`: let s be this percentile of an image's |x_0|, but at least 1; then
    x_0 is bounded to [−s, s] and divided by s."""
    _moments: Moments | None = PrivateAttr(None)

    @property
    def needs_moments(self) -> bool:
        """Whether the rows depend on moments of the network, which `plan` then has to be given."""
        return False

    @property
    def moments(self) -> Moments | None:
        """The moments given to `plan`, while it asks for rows; None if there are none."""
        return self._moments

    @property
    def learns_variance(self) -> bool:
        """Whether the network must also output the variance, as a model with `learned_variance` does."""
        return False

    def fitted(self, timesteps: int) -> Self:
        """This sampler with a default `steps` that suits a schedule of `timesteps` timesteps.

        A default above `timesteps`, or with the grid `all`, becomes `timesteps`. An explicit `steps` stays.
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
        clip: float | DynamicClip | Literal[_Unset.UNSET] | None = UNSET,
        timesteps: Sequence[float] | None = None,
        strength: float = 1.0,
        moments: Moments | None = None,
    ) -> Plan:
        """The rows from the first index to the clean image.

        `clip` and `timesteps` replace the sampler's fields; `clip=None` means no bound. With `strength` below
        1 only the last ⌊strength·n⌋ of the n indices are kept, which changes an image instead of sampling a
        new one (Meng et al. 2021, arXiv:2108.01073, with diffusers' rounding). `moments` are those of the
        network that will run; without them, the plan of a sampler that needs them can only be counted.

        Raises SpecError for more steps than the table has, for indices out of order or outside the table, for
        coefficients that are not finite, for a strength that keeps no index, and for moments that lack one.
        """
        prediction = as_prediction(prediction)
        clip = self.clip if isinstance(clip, _Unset) else clip
        if isinstance(clip, float | int) and not clip > 0:
            raise SpecError(f"should be greater than 0, not {clip:g}", field="clip")
        try:
            exact = self.timesteps if timesteps is None else descending(timesteps)
        except ValueError as error:
            raise SpecError(str(error), field="timesteps") from None
        indices = _last(
            spaced(self.grid, table, self.fitted(table.timesteps).steps) if exact is None else exact, strength
        )
        sampler = self
        if moments is not None and self.needs_moments:
            sampler = self.model_copy()
            sampler._moments = moments
        rows = tuple(sampler.rows(table, prediction, indices))
        signal, sigma = table.at(torch.tensor([row.t for row in rows], dtype=torch.float64))  # [rows] each
        levels = tuple(zip(signal.tolist(), sigma.tolist(), strict=True))
        lacks = sampler.needs_moments and sampler.moments is None
        unsure = sampler.variance_error(points(table, prediction, indices)) if sampler.moments else None
        return Plan(rows, clip, math.hypot(*levels[0]), levels, lacks, unsure)

    def rows(self, table: Table, prediction: Prediction, timesteps: Sequence[float]) -> Iterable[Row]:
        """One row for each index; the result of the last one is the predicted x_0 itself."""
        path = points(table, prediction, timesteps)
        for here, there in pairwise(path):
            yield self.step(here, there)
        yield clean(path[-1])

    def variance_error(self, path: Sequence[Point]) -> float | None:
        """Largest relative standard error of a row's noise variance; None if no variance is estimated."""
        return None

    def step(self, here: Point, there: Point) -> Row:
        """The row that moves x from point `here` to `there`, the next one, which has less noise."""
        raise NotImplementedError


class Solver(Sampler):
    """Base of the methods that integrate an ODE or SDE over log-SNR: override `solve`."""

    steps: int | None = Field(50, ge=1)
    """Number of indices on the grid; null: all T."""

    def rows(self, table: Table, prediction: Prediction, timesteps: Sequence[float]) -> Iterable[Row]:
        """The rows of all steps; a step that `solve` cannot take, at infinite log-SNR, is a straight line."""
        path = Path(table, prediction, timesteps)
        for i in range(len(path) - 1):
            if self.takes(path, i):
                yield from self.solve(path, i)
            else:
                yield straight(path[i], path[i + 1])
        yield self.finish(path)

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        """The rows from point i of the path to the next, one for each network evaluation."""
        raise NotImplementedError

    def takes(self, path: Path, i: int) -> bool:
        """Whether `solve` can take the step from point i, that is, whether log-SNR is finite at both ends."""
        return path[i].inside and path[i + 1].inside

    def finish(self, path: Path) -> Row:
        """The row from the last point to the clean image."""
        return clean(path[len(path) - 1])
