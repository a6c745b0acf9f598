"""A linear network on Gaussian data, for which every expected loss and bound has a closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from conftest import TINY
from torch import Tensor, nn

from ddpmx.data import Data, Images
from ddpmx.schedules import Table
from ddpmx.spec.loading import load
from ddpmx.training.experiment import Experiment, build

STD = 0.5


class Linear(nn.Module):
    """Predicts x_0 = gain_t·x_t; `second`, if given, becomes the second half of the channels."""

    def __init__(self, gain: Tensor, second: float | None = None) -> None:
        super().__init__()
        self.gain, self.second = gain, second

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        output = self.gain[t.long()].float().view(-1, 1, 1, 1) * x
        return (
            output
            if self.second is None
            else torch.cat((output, torch.full_like(output, self.second)), dim=1)
        )


def best_gain(table: Table) -> Tensor:
    """E[x_0 | x_t] = gain·x_t for x_0 ~ N(0, STD²)."""
    return table.signal * STD**2 / (table.signal**2 * STD**2 + table.sigma**2)


def gaussian_data(n: int, size: int = 16) -> Data:
    values = np.random.default_rng(0).standard_normal((n, 1, size, size)) * STD
    pixels = torch.from_numpy(((values.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8))
    return Data("gaussian", Images(pixels), Images(pixels[:2]), Images(pixels))


def experiment_of(tmp_path: Path, timesteps: int, schedule: str = "linear", model: str = "") -> Experiment:
    path = tmp_path / f"{schedule}{timesteps}.yaml"
    extra = ", rescale: true" if schedule == "linear" else ""
    text = TINY.replace(
        "{name: cosine, timesteps: 20}",
        f"{{name: {schedule}, timesteps: {timesteps}{extra}}}\nprediction: x_start",
    )
    text = text.replace("steps: 3", f"steps: {min(3, timesteps)}")
    path.write_text(text.replace("dim_mults: [1, 2]", f"dim_mults: [1, 2]{model}"))
    return build(load(path), torch.device("cpu"))
