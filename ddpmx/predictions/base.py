"""The base of all predictions: the network outputs a mix of the clean image x_0 and the noise ε.

x_t = signal·x_0 + sigma·ε, where signal and sigma are float64 tensors of one shape, variance preserving or
not.
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
        "target": lambda _, arguments, values: pair(values, arguments["signal"].shape),
        "x0_from": lambda _, arguments, values: pair(values, arguments["signal"].shape, finite=False),
        "input_scale": lambda _, arguments, value: (
            "" if value is None else numbers(value, arguments["signal"].shape, finite=True)
        ),
    }

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(target_x, target_eps): the network is trained to output target_x·x_0 + target_eps·ε."""
        raise NotImplementedError

    def input_scale(self, signal: Tensor, sigma: Tensor) -> Tensor | None:
        """The factor on x_t before it enters the network; None: x_t enters unscaled."""
        return None

    def x0_from(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(x0_from_x, x0_from_output), which recover x_0 = x0_from_x·x_t + x0_from_output·output.

        They are infinite where x_t and the output do not determine x_0, as for ε prediction where signal = 0.
        """
        target_x, target_eps = self.target(signal, sigma)
        # output = target_x·x_0 + target_eps·ε with ε = (x_t − signal·x_0)/sigma, solved for x_0:
        # x_0 = (sigma·output − target_eps·x_t)/(sigma·target_x − signal·target_eps)
        scale = sigma * target_x - signal * target_eps
        return -target_eps / scale, sigma / scale


def as_prediction(prediction: str | Prediction) -> Prediction:
    """The prediction with this name or alias, or the one passed in. Raises SpecError for an unknown name."""
    return PREDICTIONS.build(prediction) if isinstance(prediction, str) else prediction
