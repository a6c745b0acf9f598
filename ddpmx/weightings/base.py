"""How much the error at each timestep counts in the loss.

A weighting is defined once, as the weight of the x_0 error over log-SNR; its values for ε, v or velocity prediction are
derived, so two predictions under one weighting are one objective.
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

FAR, FARTHER = 200.0, 300.0
"""Log-SNRs at which every weight is as good as its limit, and whose exponentials float64 still holds squared."""


class Weighting(Component):
    """Base of all weightings: override `x_start_weight`."""

    contract: ClassVar[Contract] = {
        "x_start_weight": lambda _, given, values: tensor(values, [given["table"].timesteps]),
        "weights": lambda _, given, values: tensor(values, [given["table"].timesteps]),
        "module": Replace(lambda _, given, value: instance(value, nn.Module, optional=True), watch_log_loss),
    }

    def x_start_weight(self, table: Table) -> Tensor:
        """The weight of |x_0 error|² at each index: float64 [T]. `weights` calls it with finite log-SNRs only."""
        raise NotImplementedError

    def weights(self, table: Table, prediction: str | Prediction) -> Tensor:
        """What multiplies the norm of that prediction's error at each index: float64 [T].

        An output that is off by δ puts x_0 off by x0_from_output·δ, so this is x_start_weight·x0_from_output². Where the
        log-SNR is infinite, which makes that product 0·∞, it is the product's limit. Raises SpecError that names the index
        where it is not finite, in float64 or in the float32 of training.
        """
        output = as_prediction(prediction)
        if bool(table.log_snr.isfinite().all()):
            return self._finite(self._product(table, output))
        far, farther = (self._product(_within(table, reach), output) for reach in (FAR, FARTHER))
        falls, grows = farther < far * (1 - 1e-6), farther > far * (1 + 1e-6)
        return self._finite(farther.masked_fill(falls, 0.0).masked_fill(grows, math.inf))

    def module(self) -> nn.Module | None:
        """For a weighting that is learned: a new module that maps log-SNRs [b] to u [b]; the loss is then loss/exp(u) + u.

        It is trained with the network, and `weights` is what it starts from. None: nothing is learned.
        """
        return None

    def _product(self, table: Table, prediction: Prediction) -> Tensor:
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
    """The weighting's `weights`. Raises SpecError that names class, method and index unless there is a finite one ≥ 0 for each index."""
    weight, cls = weighting.weights(table, prediction), type(weighting)
    method = "x_start_weight" if cls.weights is Weighting.weights else "weights"
    plugin = f"the plugin {faults.file_of(cls.__module__)}: " if is_plugin(cls) else ""
    what = f"{plugin}{cls.__name__}.{method}() of the weighting '{weighting.component_name}'"
    if not isinstance(weight, Tensor) or weight.shape != (table.timesteps,) or not weight.is_floating_point():
        found = (
            f"{weight.dtype} {list(weight.shape)}" if isinstance(weight, Tensor) else type(weight).__name__
        )
        raise SpecError(
            f"{what} should give float64 [{table.timesteps}], a weight for each index, not {found}"
        )
    wrong = ~(weight.to(torch.float32).isfinite() & (weight >= 0))
    if bool(wrong.any()):
        index = int(wrong.nonzero()[0])
        raise SpecError(
            f"{what} gives {weight[index]:g} at index {index}, where a finite weight, 0 or above, is expected"
        )
    return weight


def _within(table: Table, reach: float) -> Table:
    """The table with its infinite log-SNRs moved to ±reach."""
    ratio = math.exp(-reach / 2)
    signal = torch.where(table.signal == 0, table.sigma * ratio, table.signal)
    sigma = torch.where(table.sigma == 0, table.signal * ratio, table.sigma)
    return replace(table, signal=signal, sigma=sigma)


def log_snr_slope(table: Table) -> Tensor:
    """−dλ/dt of the log-SNR λ, a timestep being 1: float64 [T], positive. Half of λ_{t−1} − λ_{t+1}; at the ends one-sided.

    Raises SpecError for a table of one timestep, which has no slope.
    """
    if table.timesteps == 1:
        raise SpecError("the slope of the log-SNR needs at least 2 timesteps, and the schedule has 1")
    return -torch.gradient(table.log_snr)[0]
