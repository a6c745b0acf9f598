"""The base of all time distributions, from which training draws the timestep of each image."""

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
    """The state of a time distribution that learns from the losses; it replaces `Time.draw`."""

    def draw(self, u: Tensor) -> Tensor:
        """Indices int64 [B] from `u`, float64 [B], as `Time.draw`."""
        ...

    def importance(self) -> Tensor:
        """The factor on the training loss at each index, float64 [T], as `Time.importance`."""
        ...

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Learn from one step's batch: `t`, int64 [B], and losses [B] before importance, on the CPU."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """The whole state, for a checkpoint."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a checkpoint's state. Raises KeyError or RuntimeError for another distribution's."""
        ...


def _indices_problem(drawn: object, u: Tensor, timesteps: int) -> str:
    """The problem with indices, which should be int64, shaped like `u`, in 0 … T−1; empty if none."""
    problem = tensor(drawn, u.shape, torch.int64, u.device)
    if problem or not isinstance(drawn, Tensor):
        return problem
    if len(drawn) and not (int(drawn.min()) >= 0 and int(drawn.max()) < timesteps):
        problem = (
            f"should return indices in 0 … {timesteps - 1}, not from {int(drawn.min())} to {int(drawn.max())}"
        )
    return problem


def _probabilities_problem(values: object, timesteps: int) -> str:
    """The problem with probabilities, which should be float64 [T], ≥ 0, of sum 1; empty if none."""
    problem = numbers(values, [timesteps], finite=True, least=0)
    if problem or not isinstance(values, Tensor):
        return problem
    if abs(float(values.sum()) - 1) > 1e-3:
        problem = f"should return probabilities that sum to 1, not to {float(values.sum()):g}"
    return problem


class _WatchedState:
    """A plugin's TimeState whose every result is checked."""

    def __init__(self, state: TimeState, method: Method, arguments: Arguments) -> None:
        self._state, self._method, self._timesteps = state, method, arguments["table"].timesteps

    def _named(self, name: str) -> Method:
        owner = type(self._state).__qualname__.replace("<locals>.", "")
        text = f"{owner}.{name}(), which {self._method.text} made,"
        return Method(self._method.file, text)

    def draw(self, u: Tensor) -> Tensor:
        return self._named("draw").call(
            self._state.draw, lambda value: _indices_problem(value, u, self._timesteps), u
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
        self._state.load_state_dict(state)  # the checkpoint reader handles its errors


class Time(Component):
    """Base of all time distributions: override `draw`, or inherit from `NonUniform` and override `cdf`."""

    contract: ClassVar[Contract] = {
        "draw": lambda _, arguments, drawn: _indices_problem(
            drawn, arguments["u"], arguments["table"].timesteps
        ),
        "probabilities": lambda _, arguments, values: _probabilities_problem(
            values, arguments["table"].timesteps
        ),
        "importance": lambda _, arguments, values: numbers(
            values, [arguments["table"].timesteps], finite=True, least=0
        ),
        "cdf": lambda _, arguments, values: numbers(
            values, [arguments["table"].timesteps + 1], finite=True, least=0
        ),
        "start": Replace(
            lambda _, arguments, state: (
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
            lambda state, method, arguments: (
                None if state is None else _WatchedState(state, method, arguments)
            ),
        ),
    }

    def draw(self, u: Tensor, table: Table) -> Tensor:
        """Indices int64 [B] in 0 … T−1, from one uniform number `u` for each image: float64 [B] in [0, 1)."""
        raise NotImplementedError

    def probabilities(self, table: Table) -> Tensor:
        """The probability that `draw` returns each index: float64 [T], of sum 1.

        This default counts over evenly spaced `u`, so it is approximate.
        """
        count = max(4, min(256, 2**21 // table.timesteps)) * table.timesteps
        u = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        return torch.bincount(self.draw(u, table), minlength=table.timesteps).double() / count

    def importance(self, table: Table) -> Tensor:
        """The factor on the training loss at each index, on top of the loss's weighting: float64 [T]."""
        return torch.ones_like(table.signal)

    def start(self, table: Table) -> TimeState | None:
        """The state before the first step of a distribution that learns; None: it does not learn."""
        return None


class NonUniform(Time):
    """Base of distributions that favour some timesteps: override `cdf`."""

    unbiased: bool = False
    """Divide the training loss by T·p_t, so that the objective is that of uniform times. A timestep that is
    rarely drawn then has a very large weight."""

    def cdf(self, table: Table) -> Tensor:
        """The probability of an index below k, for k = 0 … T: float64 [T + 1], non-decreasing from 0 to 1."""
        raise NotImplementedError

    def draw(self, u: Tensor, table: Table) -> Tensor:
        """The k with cdf[k] ≤ u < cdf[k + 1]."""
        return inverse(self.cdf(table), u)

    def probabilities(self, table: Table) -> Tensor:
        """cdf[k + 1] − cdf[k], the exact probabilities of `draw`: float64 [T]."""
        return self.cdf(table).diff()

    def importance(self, table: Table) -> Tensor:
        """1/(T·p_t) if `unbiased`, else 1: float64 [T]. Raises SpecError if an index is never drawn."""
        if not self.unbiased:
            return super().importance(table)
        weight = 1 / (table.timesteps * self.probabilities(table))
        never = ~weight.to(torch.float32).isfinite()
        if bool(never.any()):
            index = int(never.nonzero()[0])
            raise SpecError(
                f"the time distribution '{self.component_name}' never draws index {index}, "
                "so its loss cannot be divided by T·p_t",
                field="unbiased",
                hint="make the distribution broader, or set unbiased to false",
            )
        return weight


def boundaries(table: Table) -> Tensor:
    """k/T for k = 0 … T: float64 [T + 1]. Index k covers the times of (0, 1) from k/T to (k + 1)/T."""
    return torch.arange(table.timesteps + 1, dtype=torch.float64) / table.timesteps


def inverse(cdf: Tensor, u: Tensor) -> Tensor:
    """The k with cdf[k] ≤ u < cdf[k + 1]: int64 [B], from cdf [T + 1] and u [B] in [0, 1)."""
    return torch.searchsorted(cdf[1:-1].to(u.device), u, right=True)
