"""A minimal component of each kind, as a contributor would add it: the text of a new module, by the kind's
folder."""

MODULES = {
    "models": """
from torch import nn

from ..components.registry import MODELS
from .base import Model


@MODELS.register("added_models")
class Added(Model):
    def build(self, channels: int, size: int) -> nn.Module:
        return Network(channels)


class Network(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, t):
        return self.layer(x)
""",
    "data": """
from pathlib import Path

import torch

from ..components.registry import DATASETS
from .base import Data, Dataset, Images


@DATASETS.register("added_data")
class Added(Dataset):
    def load(self, root: Path) -> Data:
        pixels = torch.arange(24 * 64).remainder(251).to(torch.uint8).view(24, 1, 8, 8)
        return Data("added_data", Images(pixels[:16]), Images(pixels[16:]))
""",
    "metrics": """
from ..components.registry import METRICS
from .base import Metric
from .score import Score
from .subject import Subject


@METRICS.register("added_metrics")
class Added(Metric):
    def compute(self, subject: Subject) -> dict[str, Score]:
        n = len(subject.images)
        return {"added_metrics": Score(float(n), "higher", n, subject.seed)}
""",
    "samplers": """
from ..components.registry import SAMPLERS
from ..rows import Row
from .base import Sampler, straight
from .path import Point


@SAMPLERS.register("added_samplers")
class Added(Sampler):
    def step(self, here: Point, there: Point) -> Row:
        return straight(here, there)
""",
    "schedules": """
import torch
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("added_schedules")
class Added(Schedule):
    def beta(self) -> Tensor:
        return torch.full((self.timesteps,), 0.2, dtype=torch.float64)
""",
    "predictions": """
import torch
from torch import Tensor

from ..components.registry import PREDICTIONS
from .base import Prediction


@PREDICTIONS.register("added_predictions")
class Added(Prediction):
    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(signal), torch.ones_like(sigma)
""",
    "weightings": """
from torch import Tensor

from ..components.registry import WEIGHTINGS
from ..schedules import Table
from .base import Weighting


@WEIGHTINGS.register("added_weightings")
class Added(Weighting):
    def x_start_weight(self, table: Table) -> Tensor:
        return table.signal.square()
""",
    "times": """
from torch import Tensor

from ..components.registry import TIMES
from ..schedules import Table
from .base import Time


@TIMES.register("added_times")
class Added(Time):
    def draw(self, u: Tensor, table: Table) -> Tensor:
        return (u * table.timesteps).long()
""",
    "trackers": """
from pathlib import Path

from ..components.registry import TRACKERS
from .base import Event, Tracker, TrackerSession


@TRACKERS.register("added_trackers")
class Added(Tracker):
    def open(self, folder: Path, config: dict, resume: bool) -> TrackerSession:
        return Follower(folder)


class Follower:
    def __init__(self, folder):
        self.folder = folder

    def log(self, event: Event) -> None:
        pass

    def close(self, status: str) -> None:
        (self.folder / "added_trackers.txt").write_text(status)
""",
    "optimizers": """
import torch

from ..components.registry import OPTIMIZERS
from .base import Optimizer


@OPTIMIZERS.register("added_optimizers")
class Added(Optimizer):
    def build(self, parameters, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr)
""",
    "emas": """
from ..components.registry import EMAS
from .base import Ema


@EMAS.register("added_emas")
class Added(Ema):
    def decays(self, step: int) -> tuple[float, ...]:
        return (0.5,)
""",
}

SPEC = """
name: added
dataset: added_data
model: added_models
schedule: {name: added_schedules, timesteps: 10}
prediction: added_predictions
time: added_times
loss: {weighting: added_weightings}
sampler: added_samplers
train: {steps: 2, batch_size: 8, optimizer: added_optimizers, ema: added_emas}
evaluate: {samples: 4, grid: 4, sampler: added_samplers, metrics: [added_metrics]}
track: [added_trackers]
"""
