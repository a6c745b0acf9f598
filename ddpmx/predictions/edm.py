"""EDM's preconditioning (Karras et al. 2022): unit variance of input and target at every noise level."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..components.registry import PREDICTIONS
from .base import Prediction


@PREDICTIONS.register("edm", paper="Karras et al. 2022, arXiv:2206.00364, eq. 7 and table 1")
class EDM(Prediction):
    """EDM's network F, from which the denoised image is D(x) = c_skip·x + c_out·F(c_in·x).

    For any (signal, sigma), with s² = sigma² + σ_d²·signal²; x is x_t, where the paper has x_t/signal and
    sigma/signal as its σ::

        F = (sigma/σ_d·x_0 − σ_d·signal·ε)/s
        c_skip = σ_d²·signal/s²     c_out = σ_d·sigma/s     c_in = 1/s

    With σ_d = 1 and a variance-preserving schedule, F = −v.
    """

    sigma_data: float = Field(0.5, gt=0)
    """σ_d, the standard deviation of the data's pixel values, which are in [−1, 1]."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scale = self._scale(signal, sigma)
        # F = sigma/(σ_d·s)·x_0 − σ_d·signal/s·ε
        return sigma / (self.sigma_data * scale), -self.sigma_data * signal / scale

    def x0_from(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scale = self._scale(signal, sigma)
        # (c_skip, c_out)
        return self.sigma_data**2 * signal / scale.square(), self.sigma_data * sigma / scale

    def input_scale(self, signal: Tensor, sigma: Tensor) -> Tensor | None:
        return 1 / self._scale(signal, sigma)

    def _scale(self, signal: Tensor, sigma: Tensor) -> Tensor:
        """s, the standard deviation of x_t: s² = sigma² + σ_d²·signal²."""
        return (sigma.square() + self.sigma_data**2 * signal.square()).sqrt()
