"""What a training run has reached: its counters, and the modules that it changes. Together they are a checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from pydantic import ConfigDict
from torch import nn

from ..spec.schema import TrainSpec
from ..times import TimeState
from .ema import Ema
from .events import Count, Event
from .experiment import Experiment
from .pacing import max_epochs, max_steps
from .stability import Stability


@dataclass
class TrainState(Stability):
    """All that a checkpoint holds besides weights and optimizer."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    step: Count = 0
    epoch: Count = 0
    """Whole passes done."""
    batch: Count = 0
    """Batches done of the pass under way."""
    images: Count = 0
    """Training images seen."""
    loss_sum: float = 0.0
    loss_count: Count = 0
    seconds: float = 0.0
    """Of the pass under way: sum of the losses, their count, training time."""
    best_loss: float = math.inf
    best_step: int = -1
    best_epoch: int = 0
    row: Event = field(default_factory=dict)
    """The last finished epoch's event, which a kill may have kept from the log."""
    skipped: Count = 0
    """Batches left out in a row."""
    rollbacks: list[Event] = field(default_factory=list)
    """Their events; each has halved the learning rate."""
    lr: float | None = None
    """What the schedule gave the last step, before rollbacks halved it; None where an older version wrote the checkpoint."""

    def count_step(self, images: int, lr: float) -> None:
        """Count a step on so many images, whose scheduled learning rate was `lr`."""
        self.step, self.lr = self.step + 1, lr
        self.batch += 1
        self.images += images

    def add_loss(self, loss: float, images: int, zero_loss: float = math.inf) -> None:
        """Take in a step's mean loss over its images, and that of an output of 0."""
        self.skipped = 0
        self.loss_sum += loss * images
        self.loss_count += images
        self.add_step(self.step, loss, zero_loss)

    def count_epoch(self) -> None:
        """Count the pass under way as done, and start the sums of the next."""
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum, self.loss_count, self.seconds = 0.0, 0, 0.0


@dataclass(frozen=True)
class Trained:
    """All that training changes, besides the counters: what a checkpoint holds."""

    network: nn.Module
    ema: Ema | None
    optimizer: torch.optim.Optimizer
    weighting: nn.Module | None = None
    """The u of a learned weighting; not averaged, as nothing is drawn with it."""
    time: TimeState | None = None

    @property
    def averaged(self) -> nn.Module:
        """The network that validation, samples and metrics use."""
        return self.network if self.ema is None else self.ema.module

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the gradient is taken of, the network's first."""
        modules = [self.network] if self.weighting is None else [self.network, self.weighting]
        return [p for module in modules for p in module.parameters() if p.requires_grad]


def prepare(experiment: Experiment) -> Trained:
    """What training changes, as it is before the first step."""
    spec, network = experiment.spec, experiment.network
    ema = None if spec.train.ema is None else Ema(network, spec.train.ema.decay, spec.train.ema.warmup)
    weighting = spec.loss.weighting.module()
    learned = [] if weighting is None else list(weighting.to(experiment.device).parameters())
    optimizer = spec.train.optimizer.build(
        [*network.parameters(), *learned], lr=spec.train.lr, weight_decay=spec.train.weight_decay
    )
    return Trained(network, ema, optimizer, weighting, spec.time.start(experiment.table))


def is_over(train: TrainSpec, state: TrainState) -> bool:
    """Whether the budget is spent or patience is at its end."""
    patience = (
        train.patience is not None
        and state.best_step >= 0
        and state.epoch - state.best_epoch >= train.patience
    )
    return patience or state.epoch >= max_epochs(train) or state.step >= max_steps(train)
