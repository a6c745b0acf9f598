"""A schedule whose β are listed in the spec."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("betas")
class Betas(Schedule):
    """β given as a list of numbers, such as another library's `trained_betas`."""

    values: tuple[Annotated[float, Field(gt=0, le=1)], ...]
    """β at each index, from the least noise to the most: one number for each of the `timesteps`."""

    @model_validator(mode="after")
    def _one_value_per_timestep(self) -> Betas:
        if len(self.values) != self.timesteps:
            raise ValueError(f"{len(self.values)} values are given for {self.timesteps} timesteps")
        return self

    def beta(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)
