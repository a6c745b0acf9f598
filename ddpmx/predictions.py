"""What the network predicts: a mix of the clean image x_0 and the noise ε.

With x_t = signal·x_0 + sigma·ε (signal and sigma are float64 tensors of one shape, not necessarily variance preserving).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .registry import PREDICTIONS, Component


class Prediction(Component):
    """Base of all predictions: override `target`."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(target_x, target_eps): the network should output target_x·x_0 + target_eps·ε."""
        raise NotImplementedError

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


@PREDICTIONS.register("epsilon", aliases=("noise",), paper="Ho et al. 2020, arXiv:2006.11239")
class Epsilon(Prediction):
    """The noise ε; x_0 = (x_t − sigma·ε)/signal."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(signal), torch.ones_like(sigma)


@PREDICTIONS.register("x_start", aliases=("sample",), paper="Ho et al. 2020, arXiv:2006.11239")
class XStart(Prediction):
    """The clean image x_0 itself."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(signal), torch.zeros_like(sigma)

    def x0_from(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(signal), torch.ones_like(sigma)  # the general form is 0/0 at sigma 0


@PREDICTIONS.register("v", aliases=("v_prediction",), paper="Salimans & Ho 2022, arXiv:2202.00512")
class V(Prediction):
    """v = signal·ε − sigma·x_0; x_0 = (signal·x_t − sigma·v)/(signal² + sigma²)."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return -sigma, signal


@PREDICTIONS.register("velocity", aliases=("flow",), paper="Liu et al. 2022, arXiv:2209.03003")
class Velocity(Prediction):
    """u = ε − x_0, the velocity of the straight line from image to noise; x_0 = (x_t − sigma·u)/(signal + sigma)."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(signal), torch.ones_like(sigma)
