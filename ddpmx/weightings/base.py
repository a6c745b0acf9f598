"""The base of all weightings: how much the error at each timestep counts in the loss.

A weighting is defined once, as the weight of the x_0 error over log-SNR. The weights of the ε, v and velocity
errors are derived from it, so two predictions with the same weighting have the same objective.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..components.registry import Component
from ..errors import SpecError
from ..plugins import faults
from ..plugins.expected import instance, tensor
from ..plugins.guard import Contract, Replace, is_plugin
from ..predictions import Prediction, as_prediction
from ..schedules import Table
from .watch import watch_log_loss

LARGE_LOG_SNRS = (200.0, 300.0)
"""Two log-SNRs so large that every weight has reached its limit, but float64 can still square their
exponentials."""


class Weighting(Component):
    """Base of all weightings: override `x_start_weight`."""

    contract: ClassVar[Contract] = {
        "x_start_weight": lambda _, arguments, values: tensor(values, [arguments["table"].timesteps]),
        "weights": lambda _, arguments, values: tensor(values, [arguments["table"].timesteps]),
        "module": Replace(
            lambda _, arguments, value: instance(value, nn.Module, optional=True), watch_log_loss
        ),
    }

    def x_start_weight(self, table: Table) -> Tensor:
        """The weight of the squared x_0 error at each index: float64 [T].

        `weights` calls it with finite log-SNRs only.
        """
        raise NotImplementedError

    def weights(self, table: Table, prediction: str | Prediction) -> Tensor:
        """The factor on the norm of this prediction's error at each index: float64 [T].

        It is x_start_weight·x0_from_output², because an error of δ in the output is an error of
        x0_from_output·δ in x_0. Where log-SNR is infinite that product is 0·∞, and its limit is returned.
        Raises SpecError with the index where the weight is not finite, in float64 or in the float32 of
        training.
        """
        component = as_prediction(prediction)
        if bool(table.log_snr.isfinite().all()):
            return self._finite(self._product(table, component))
        # Replace an infinite log-SNR by ±200, then by ±300: a weight that still changes has the limit 0 or ∞.
        at_200, at_300 = (self._product(_bounded(table, bound), component) for bound in LARGE_LOG_SNRS)
        falls, grows = at_300 < at_200 * (1 - 1e-6), at_300 > at_200 * (1 + 1e-6)
        return self._finite(at_300.masked_fill(falls, 0.0).masked_fill(grows, math.inf))

    def module(self) -> nn.Module | None:
        """A learned weighting's new module: it maps log-SNR [b] to u [b], and the loss is loss/exp(u) + u.

        It is trained together with the network, starting from `weights`. None: nothing is learned.
        """
        return None

    def _product(self, table: Table, prediction: Prediction) -> Tensor:
        # weight of the output's error = x_start_weight·x0_from_output²
        _, x0_from_output = prediction.x0_from(table.signal, table.sigma)
        return self.x_start_weight(table) * x0_from_output.square()

    def _finite(self, weight: Tensor) -> Tensor:
        wrong = ~weight.to(torch.float32).isfinite()
        if bool(wrong.any()):
            index = int(wrong.nonzero()[0])
            remedies = [field for field in ("clip", "first") if field in type(self).model_fields]
            hint = f"set its {' or '.join(remedies)}" if remedies else ""
            where = (
                ""
                if type(self).__module__.startswith("ddpmx.")
                else f" ({type(self).__name__}.x_start_weight)"
            )
            raise SpecError(
                f"the weighting '{self.component_name}' is {weight[index]:g} at index {index}{where}",
                hint=hint,
            )
        return weight


def checked_weights(weighting: Weighting, table: Table, prediction: str | Prediction) -> Tensor:
    """The weighting's `weights`, checked: one for each index, finite and at least 0.

    Raises SpecError with the class, the method and the index at fault.
    """
    weight, cls = weighting.weights(table, prediction), type(weighting)
    method = "x_start_weight" if cls.weights is Weighting.weights else "weights"
    plugin = f"the plugin {faults.file_of(cls.__module__)}: " if is_plugin(cls) else ""
    what = f"{plugin}{cls.__name__}.{method}() of the weighting '{weighting.component_name}'"
    if not isinstance(weight, Tensor) or weight.shape != (table.timesteps,) or not weight.is_floating_point():
        actual = (
            f"{weight.dtype} {list(weight.shape)}" if isinstance(weight, Tensor) else type(weight).__name__
        )
        raise SpecError(
            f"{what} should return float64 [{table.timesteps}], one weight for each index, not {actual}"
        )
    wrong = ~(weight.to(torch.float32).isfinite() & (weight >= 0))
    if bool(wrong.any()):
        index = int(wrong.nonzero()[0])
        raise SpecError(
            f"{what} returned {weight[index]:g} at index {index}; a weight should be finite and at least 0"
        )
    return weight


def _bounded(table: Table, bound: float) -> Table:
    """The table with its infinite log-SNRs replaced by ±bound."""
    ratio = math.exp(-bound / 2)  # signal/sigma at log-SNR −bound, sigma/signal at +bound
    signal = torch.where(table.signal == 0, table.sigma * ratio, table.signal)
    sigma = torch.where(table.sigma == 0, table.signal * ratio, table.sigma)
    return replace(table, signal=signal, sigma=sigma)


def log_snr_slope(table: Table) -> Tensor:
    """−dλ/dt per timestep, where λ is log-SNR: float64 [T], positive.

    It is (λ_{t−1} − λ_{t+1})/2, and one-sided at the ends. Raises SpecError for a table with 1 timestep.
    """
    if table.timesteps == 1:
        raise SpecError("the slope of the log-SNR needs at least 2 timesteps, and the schedule has 1")
    return -torch.gradient(table.log_snr)[0]
