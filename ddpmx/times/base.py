"""How training draws the timestep of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from ..components.registry import Component
from ..errors import SpecError
from ..plugins.expected import described, has, numbers, tensor
from ..plugins.guard import Arguments, Contract, Method, Replace
from ..schedules import Table


class TimeState(Protocol):
    """What a distribution that learns from the losses has learned; it draws in the place of its `Time`, by the same rules."""

    def draw(self, u: Tensor) -> Tensor:
        """As `Time.draw`."""
        ...

    def importance(self) -> Tensor:
        """As `Time.importance`."""
        ...

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Take in a step's whole batch: its indices, int64 [B], and losses [B], without importance; both on the CPU."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a checkpoint. Raises KeyError or RuntimeError if it is another distribution's."""
        ...


def _indices(drawn: object, u: Tensor, timesteps: int) -> str:
    problem = tensor(drawn, u.shape, torch.int64, u.device)
    if problem or not isinstance(drawn, Tensor):
        return problem
    if len(drawn) and not (int(drawn.min()) >= 0 and int(drawn.max()) < timesteps):
        problem = (
            f"should return indices in 0 … {timesteps - 1}, not from {int(drawn.min())} to {int(drawn.max())}"
        )
    return problem


def _probabilities(values: object, timesteps: int) -> str:
    problem = numbers(values, [timesteps], finite=True, least=0)
    if problem or not isinstance(values, Tensor):
        return problem
    if abs(float(values.sum()) - 1) > 1e-3:
        problem = f"should return probabilities of sum 1, not {float(values.sum()):g}"
    return problem


class _Watched:
    """What a plugin's distribution has learned, each answer looked at."""

    def __init__(self, state: TimeState, method: Method, given: Arguments) -> None:
        self._state, self._method, self._timesteps = state, method, given["table"].timesteps

    def _named(self, name: str) -> Method:
        text = f"{type(self._state).__qualname__.replace('<locals>.', '')}.{name}(), which {self._method.text} made,"
        return Method(self._method.file, text)

    def draw(self, u: Tensor) -> Tensor:
        return self._named("draw").call(
            self._state.draw, lambda value: _indices(value, u, self._timesteps), u
        )

    def importance(self) -> Tensor:
        def check(value: Tensor) -> str:
            return numbers(value, [self._timesteps], finite=True, least=0)

        return self._named("importance").call(self._state.importance, check)

    def update(self, t: Tensor, losses: Tensor) -> None:
        self._named("update").call(self._state.update, lambda value: "", t, losses)

    def state_dict(self) -> dict[str, Tensor]:
        def check(value: object) -> str:
            fits = isinstance(value, Mapping) and all(isinstance(part, Tensor) for part in value.values())
            return "" if fits else f"should return a dict of tensors, not {described(value)}"

        return self._named("state_dict").call(self._state.state_dict, check)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._state.load_state_dict(state)  # of whose errors a checkpoint's reader makes its own


class Time(Component):
    """Base of all time distributions: override `draw`, or inherit from `Uneven` and override `cdf`."""

    contract: ClassVar[Contract] = {
        "draw": lambda _, given, drawn: _indices(drawn, given["u"], given["table"].timesteps),
        "probabilities": lambda _, given, values: _probabilities(values, given["table"].timesteps),
        "importance": lambda _, given, values: numbers(
            values, [given["table"].timesteps], finite=True, least=0
        ),
        "cdf": lambda _, given, values: numbers(values, [given["table"].timesteps + 1], finite=True, least=0),
        "start": Replace(
            lambda _, given, state: (
                ""
                if state is None
                else has(
                    state,
                    "None or an object",
                    "draw",
                    "importance",
                    "update",
                    "state_dict",
                    "load_state_dict",
                )
            ),
            lambda state, method, given: None if state is None else _Watched(state, method, given),
        ),
    }

    def draw(self, u: Tensor, table: Table) -> Tensor:
        """Indices, int64 [B] in 0 … T−1, from uniform numbers `u`, float64 [B] in [0, 1), one for each image of a batch."""
        raise NotImplementedError

    def probabilities(self, table: Table) -> Tensor:
        """How likely `draw` gives each index: float64 [T], of sum 1. Here counted over evenly spread `u`, so not exact."""
        count = max(4, min(256, 2**21 // table.timesteps)) * table.timesteps
        u = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        return torch.bincount(self.draw(u, table), minlength=table.timesteps).double() / count

    def importance(self, table: Table) -> Tensor:
        """What multiplies the training loss at each index, besides the loss's own weighting: float64 [T]."""
        return torch.ones_like(table.signal)

    def start(self, table: Table) -> TimeState | None:
        """What it knows before the first step, for a distribution that learns; None: it does not."""
        return None


class Uneven(Time):
    """Base of distributions that favour some timesteps: override `cdf`."""

    unbiased: bool = False
    """Divide the training loss by T·p_t: the objective is then uniform times', but a timestep that is hardly drawn counts enormously."""

    def cdf(self, table: Table) -> Tensor:
        """The probability of an index below k, for k = 0 … T: float64 [T + 1], from 0 to 1, nowhere falling."""
        raise NotImplementedError

    def draw(self, u: Tensor, table: Table) -> Tensor:
        """The k with cdf[k] ≤ u < cdf[k + 1]."""
        return inverse(self.cdf(table), u)

    def probabilities(self, table: Table) -> Tensor:
        """cdf[k + 1] − cdf[k], exactly what `draw` does."""
        return self.cdf(table).diff()

    def importance(self, table: Table) -> Tensor:
        """1/(T·p_t) where `unbiased`, else 1. Raises SpecError that names an index which is never drawn."""
        if not self.unbiased:
            return super().importance(table)
        weight = 1 / (table.timesteps * self.probabilities(table))
        never = ~weight.to(torch.float32).isfinite()
        if bool(never.any()):
            index = int(never.nonzero()[0])
            raise SpecError(
                f"the time '{self.component_name}' never draws index {index}",
                field="unbiased",
                hint="make it broader",
            )
        return weight


def boundaries(table: Table) -> Tensor:
    """k/T for k = 0 … T, float64 [T + 1]: index k stands for the times between boundaries k and k + 1 of (0, 1)."""
    return torch.arange(table.timesteps + 1, dtype=torch.float64) / table.timesteps


def inverse(cdf: Tensor, u: Tensor) -> Tensor:
    """The k with cdf[k] ≤ u < cdf[k + 1], int64 [B], for cdf [T + 1] from 0 to 1 and u [B] in [0, 1)."""
    return torch.searchsorted(cdf[1:-1].to(u.device), u, right=True)
