"""The state of a training run: its counters, and the modules that training changes.

Together they form a checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from pydantic import ConfigDict
from torch import nn

from ..spec.schema import TrainSpec
from ..times import TimeState
from .ema import Averages
from .events import Count, Event
from .experiment import Experiment
from .pacing import max_epochs, max_steps
from .stability import Stability


@dataclass
class TrainState(Stability):
    """A checkpoint's contents other than the weights and the optimizer's state."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    step: Count = 0
    """Optimizer steps done, skipped ones included."""
    epoch: Count = 0
    """Whole passes over the images done."""
    batch: Count = 0
    """Batches done in the current pass."""
    images: Count = 0
    """Training images seen."""
    loss_sum: float = 0.0
    """Sum of the images' losses in the current pass."""
    loss_count: Count = 0
    """Number of losses in that sum."""
    seconds: float = 0.0
    """Training time of the current pass."""
    best_loss: float = math.inf
    """Lowest validation loss so far."""
    best_step: int = -1
    """Step of the lowest validation loss; −1: none yet."""
    best_epoch: int = 0
    """Epoch of the lowest validation loss, from which patience counts; 0: none yet."""
    row: Event = field(default_factory=dict)
    """The last finished epoch's event, which is missing from the log if the process was killed before writing
    it."""
    skipped: Count = 0
    """Batches skipped in a row."""
    rollbacks: list[Event] = field(default_factory=list)
    """Events of the rollbacks so far; each rollback halves the learning rate."""
    lr: float | None = None
    """Scheduled learning rate of the last step, before any halving; None in checkpoints of older versions."""

    def count_step(self, images: int, lr: float) -> None:
        """Count a step on this many images with the scheduled learning rate `lr`."""
        self.step, self.lr = self.step + 1, lr
        self.batch += 1
        self.images += images

    def add_loss(self, loss: float, images: int, zero_loss: float = math.inf) -> None:
        """Record a step's mean loss over its images, and the mean loss of an output of 0."""
        self.skipped = 0
        self.loss_sum += loss * images
        self.loss_count += images
        self.add_step(self.step, loss, zero_loss)

    def count_epoch(self) -> None:
        """Count the current pass as done, and reset its sums."""
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum, self.loss_count, self.seconds = 0.0, 0, 0.0


@dataclass(frozen=True)
class Trained:
    """The modules that training changes, which a checkpoint contains beside the counters."""

    network: nn.Module
    """The network being trained."""
    ema: Averages | None
    """Its moving averages, if the spec has any."""
    optimizer: torch.optim.Optimizer
    """The optimizer of the network and of a learned weighting."""
    weighting: nn.Module | None = None
    """The u of a learned weighting; not averaged, since sampling does not use it."""
    time: TimeState | None = None
    """State of a time distribution that learns from the losses."""

    @property
    def averaged(self) -> nn.Module:
        """The network for validation, sampling and metrics: the moving average if there is one."""
        return self.network if self.ema is None else self.ema.module

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trainable parameters, the network's first."""
        modules = [self.network] if self.weighting is None else [self.network, self.weighting]
        return [p for module in modules for p in module.parameters() if p.requires_grad]


def prepare(experiment: Experiment) -> Trained:
    """The modules that training changes, in their initial state."""
    spec, network = experiment.spec, experiment.network
    ema = None if spec.train.ema is None else Averages(network, spec.train.ema)
    weighting = spec.loss.weighting.module()
    learned = [] if weighting is None else list(weighting.to(experiment.device).parameters())
    optimizer = spec.train.optimizer.build(
        [*network.parameters(), *learned], lr=spec.train.lr, weight_decay=spec.train.weight_decay
    )
    return Trained(network, ema, optimizer, weighting, spec.time.start(experiment.table))


def is_over(train: TrainSpec, state: TrainState) -> bool:
    """Whether the budget is spent or patience has run out."""
    patience = (
        train.patience is not None
        and state.best_step >= 0
        and state.epoch - state.best_epoch >= train.patience
    )
    return patience or state.epoch >= max_epochs(train) or state.step >= max_steps(train)
