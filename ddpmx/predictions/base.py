"""What all predictions share: a mix of the clean image x_0 and the noise ε.

With x_t = signal·x_0 + sigma·ε (signal and sigma are float64 tensors of one shape, not necessarily variance preserving).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..components.registry import PREDICTIONS, Component
from ..plugins.expected import numbers, pair
from ..plugins.guard import Contract


class Prediction(Component):
    """Base of all predictions: override `target`."""

    contract: ClassVar[Contract] = {
        "target": lambda _, given, values: pair(values, given["signal"].shape),
        "x0_from": lambda _, given, values: pair(values, given["signal"].shape, finite=False),
        "input_scale": lambda _, given, value: (
            "" if value is None else numbers(value, given["signal"].shape, finite=True)
        ),
    }

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(target_x, target_eps): the network should output target_x·x_0 + target_eps·ε."""
        raise NotImplementedError

    def input_scale(self, signal: Tensor, sigma: Tensor) -> Tensor | None:
        """What x_t is multiplied by before the network sees it; None: nothing."""
        return None

    def x0_from(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(x0_from_x, x0_from_output): x_0 = x0_from_x·x_t + x0_from_output·output.

        ε = (x_t − signal·x_0)/sigma put into the target and solved for x_0. Infinite where the output and x_t together
        do not tell x_0, as ε does not at signal 0.
        """
        target_x, target_eps = self.target(signal, sigma)
        scale = sigma * target_x - signal * target_eps
        return -target_eps / scale, sigma / scale


def as_prediction(prediction: str | Prediction) -> Prediction:
    """The prediction of that name or alias; SpecError when there is none."""
    return PREDICTIONS.build(prediction) if isinstance(prediction, str) else prediction
