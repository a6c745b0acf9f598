"""Schedules whose values a test lists, and the names of the built-in ones."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ddpmx.components.registry import SCHEDULES
from ddpmx.schedules import Schedule

LISTED = "betas"  # its numbers are in the spec


BUILT_IN = [
    name
    for name in SCHEDULES.names()
    if SCHEDULES.get(name).__module__.startswith("ddpmx.") and name != LISTED
]


class ListedLogSNR(Schedule):
    """A schedule with the log-SNR that the test lists."""

    component_name: ClassVar[str] = "listed"
    values: tuple[float, ...]

    def log_snr(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)


class ListedBeta(Schedule):
    """A schedule with the β that the test lists."""

    component_name: ClassVar[str] = "listed_beta"
    values: tuple[float, ...]

    def beta(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)


def family(name: str, signal: Tensor, sigma: Tensor) -> Tensor:
    """The expression in signal and sigma that is 1 at every index of the schedule `name`."""
    return {"flow": signal + sigma, "edm": signal}.get(name, signal.square() + sigma.square())


def diffusers_betas(**config: Any) -> tuple[Tensor, Tensor]:
    """diffusers' (betas, alphas_cumprod), float32."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(**config)
    return scheduler.betas, scheduler.alphas_cumprod
