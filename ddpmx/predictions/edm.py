"""EDM's preconditioning (Karras et al. 2022): the network's input and output have unit variance at every noise level."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..components.registry import PREDICTIONS
from .base import Prediction


@PREDICTIONS.register("edm", paper="Karras et al. 2022, arXiv:2206.00364, eq. 7 and table 1")
class EDM(Prediction):
    """F in D(x) = c_skip·x + c_out·F(c_in·x), D being the denoised image: (sigma/σ_d·x_0 − σ_d·signal·ε)/s, s² = sigma² + σ_d²·signal².

    For any (signal, sigma), with x_t in place of the paper's x = x_t/signal and sigma/signal in place of its σ::

        c_skip = σ_d²·signal/s²     c_out = σ_d·sigma/s     c_in = 1/s

    With σ_d = 1 and a variance-preserving schedule it is −v.
    """

    sigma_data: float = Field(0.5, gt=0)
    """σ_d, the standard deviation of the pixels; images are in [−1, 1]."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scale = self._scale(signal, sigma)
        return sigma / (self.sigma_data * scale), -self.sigma_data * signal / scale

    def x0_from(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scale = self._scale(signal, sigma)
        return self.sigma_data**2 * signal / scale.square(), self.sigma_data * sigma / scale

    def input_scale(self, signal: Tensor, sigma: Tensor) -> Tensor | None:
        return 1 / self._scale(signal, sigma)

    def _scale(self, signal: Tensor, sigma: Tensor) -> Tensor:
        """The standard deviation of x_t."""
        return (sigma.square() + self.sigma_data**2 * signal.square()).sqrt()
