"""The interface between moving averages of the weights and the rest of ddpmx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..components.registry import Component
from ..plugins.expected import described
from ..plugins.guard import Contract


def _decays_problem(decays: object) -> str:
    """The problem with decays, which should be a tuple of numbers from 0 to 1; empty if none."""
    fits = isinstance(decays, tuple) and all(
        isinstance(decay, float | int) and 0 <= decay <= 1 for decay in decays
    )
    return "" if fits and decays else f"should return a tuple of numbers from 0 to 1, not {described(decays)}"


def _steps_problem(steps: object, last: int) -> str:
    """The problem with steps, which should be integers from 1 to `last`; empty if none."""
    fits = isinstance(steps, Sequence) and all(isinstance(step, int) and 1 <= step <= last for step in steps)
    return "" if fits else f"should return steps from 1 to {last}, not {described(steps)}"


class Ema(Component):
    """Base of all exponential moving averages (EMA) of the weights: override `decays`."""

    contract: ClassVar[Contract] = {
        "decays": lambda _, arguments, value: _decays_problem(value),
        "kept": lambda _, arguments, value: _steps_problem(value, arguments["step"]),
    }

    def decays(self, step: int) -> tuple[float, ...]:
        """The decay of each average in the update after step `step`, which counts from 1; each in [0, 1].

        The update is average ← decay·average + (1 − decay)·weights, and before step 1 all averages are the
        initial weights. There are as many averages at every step; validation, samples and metrics use the
        first one.
        """
        raise NotImplementedError

    def kept(self, step: int) -> Sequence[int]:
        """The steps whose snapshots are kept once `step` steps are done, without the end of training.

        A snapshot is written if its own step is among them, so later calls may drop steps, but not add any
        but their own. By default none.
        """
        return ()

    def note(self, steps: int) -> str:
        """How the averages do not suit a training of so many steps; empty if they do."""
        return ""
