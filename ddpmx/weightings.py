"""How much the error at each timestep counts in the loss.

A weighting is defined once, as the weight of the x_0 error over log-SNR; its values for ε, v or velocity prediction are
derived, so two predictions under one weighting are one objective.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from .errors import SpecError
from .predictions import Prediction, as_prediction
from .registry import WEIGHTINGS, Component
from .schedules import Table


class Weighting(Component):
    """Base of all weightings: override `x_start_weight`."""

    def x_start_weight(self, table: Table) -> Tensor:
        """The weight of |x_0 error|² at each index: float64 [T]."""
        raise NotImplementedError

    def weights(self, table: Table, prediction: str | Prediction) -> Tensor:
        """What multiplies the norm of that prediction's error at each index: float64 [T].

        An output that is off by δ puts x_0 off by x0_from_output·δ, so this is x_start_weight·x0_from_output².
        Raises SpecError that names the index where it is not finite.
        """
        _, x0_from_output = as_prediction(prediction).x0_from(table.signal, table.sigma)
        return self._finite(self.x_start_weight(table) * x0_from_output.square())

    def _finite(self, weight: Tensor) -> Tensor:
        if not bool(weight.isfinite().all()):
            index = int((~weight.isfinite()).nonzero()[0])
            hint = "set its clip" if "clip" in type(self).model_fields else ""
            raise SpecError(f"the weighting '{self.component_name}' is {weight[index]:g} at index {index}", hint=hint)
        return weight


@WEIGHTINGS.register("constant", paper="Ho et al. 2020, arXiv:2006.11239")
class Constant(Weighting):
    """1 at every timestep, for the prediction in use: what the field calls L_simple.

    The one weighting that is not one objective: it weighs the ε error by 1 under ε, the x_0 error by 1 under x_start.
    """

    def weights(self, table: Table, prediction: str | Prediction) -> Tensor:
        return torch.ones_like(table.signal)


@WEIGHTINGS.register("vlb", paper="Ho et al. 2020, arXiv:2006.11239, eq. 12")
class VLB(Weighting):
    """The variational bound: the ε error counts β²/(2σ²α(1−ᾱ)), σ² being the posterior variance β̃.

    This equals ½(SNR_{t−1}/SNR_t − 1), which is how it is computed. It is infinite at index 0, where β̃ is 0 (before the first
    step there is no noise left): the study's clip is what makes it finite there, and without one the table is refused.
    """

    clip: float | None = Field(None, gt=0)
    """Upper bound of the ε weight, before it is converted to the prediction in use; null: none, which index 0 does not allow."""

    def x_start_weight(self, table: Table) -> Tensor:
        log_snr = table.log_snr
        before = torch.cat([log_snr.new_full((1,), math.inf), log_snr[:-1]])
        weight = 0.5 * torch.expm1(before - log_snr)
        if self.clip is not None:
            weight = weight.clamp(max=self.clip)
        return weight * log_snr.exp()  # the x_0 error is the ε error divided by √SNR
