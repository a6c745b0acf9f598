"""One training step in three parts: a plan made on the host, the work of the device, and a result to be read.

The plan holds all that can be decided without the device: which images, timesteps, noise, labels and learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..world import World
from .batch import Draws, fetch_images
from .experiment import Experiment
from .learning_rate import learning_rate
from .objective import draw_step, step_loss, zero_output_loss
from .pacing import total_steps
from .predicted import Network
from .state import Trained, TrainState


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a step does, on the CPU."""

    step: int
    """Its number, from 0."""
    epoch: int
    draws: Draws
    importance: Tensor
    """What multiplies the objective of each image, to make up for how its timestep is drawn: float32 [B]."""
    zero_loss: float
    """The mean loss of an output of 0, or a bound of it."""
    scheduled_lr: float
    lr: float
    """As scheduled, halved by each rollback."""

    @property
    def ids(self) -> Tensor:
        """Of the images, int64 [B]."""
        return self.draws.noise.sample_ids


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step found."""

    loss: float
    """Of the whole batch: the mean objective."""
    grad_norm: float
    """Before it is clipped."""
    losses: Tensor
    """Of each image, without importance: float32 [B] on the device; 0 for images of other processes."""

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


class Trainer:
    """Takes the steps of a run, one at a time."""

    def __init__(self, experiment: Experiment, trained: Trained, world: World) -> None:
        self.experiment, self.trained, self.world = experiment, trained, world
        self.spec, self.parameters = experiment.spec.train, trained.parameters
        self.pixels = _near(experiment.data.train.pixels, experiment.device)
        self.steps = total_steps(self.spec, len(self.pixels))
        self.network: Network = torch.compile(trained.network) if self.spec.compile else trained.network
        self.zero_losses, self.importance = (
            zero_output_loss(experiment),
            experiment.coefficients.importance.cpu(),
        )

    # -- on the host

    def plan(self, state: TrainState, order: Tensor) -> StepPlan:
        """The step that follows `state`, in a pass over the images in this order."""
        ids = order[state.batch * self.spec.batch_size : (state.batch + 1) * self.spec.batch_size]
        draws = draw_step(self.experiment, ids, state.step, self.trained.time)
        importance = (self.importance if self.trained.time is None else self.trained.time.importance())[
            draws.t
        ]
        zero_loss = float((self.zero_losses[draws.t] * importance).mean())
        scheduled = learning_rate(self.spec, state.step, self.steps)
        lr = scheduled * 0.5 ** len(state.rollbacks)
        return StepPlan(state.step, state.epoch, draws, importance.float(), zero_loss, scheduled, lr)

    # -- on the device

    def take(self, plan: StepPlan) -> StepResult:
        """Forward, backward, clip and update; a step whose loss or gradient is not finite changes no weights."""
        device, optimizer, ema = self.experiment.device, self.trained.optimizer, self.trained.ema
        torch.manual_seed(hash((self.experiment.spec.seed, plan.step, self.world.rank)))  # dropout's
        for group in optimizer.param_groups:
            group["lr"] = plan.lr
        optimizer.zero_grad(set_to_none=True)

        loss, losses = torch.zeros((), device=device), torch.zeros(len(plan.ids), device=device)
        for part in self._micro_batches(len(plan.ids)):
            part_loss, losses[part.to(device)] = self._backward(plan, part)
            loss += part_loss

        grad_norm = reduce_and_clip(self.parameters, self.spec.grad_clip, self.world)
        result = StepResult(float(self.world.sum_(loss)), grad_norm, losses)
        if result.is_finite:
            optimizer.step()
            if ema is not None:
                ema.update(self.trained.network, plan.step + 1)
        return result

    def _micro_batches(self, images: int) -> list[Tensor]:
        """This process's share of a batch in `accumulate` parts, as indices into the batch; none is empty."""
        size = math.ceil(math.ceil(images / self.world.size) / self.spec.accumulate)
        return [part for part in self.world.part(torch.arange(images)).split(size) if len(part)]

    def _backward(self, plan: StepPlan, part: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the gradient of Σ importance·objective/B over a part of the batch; returns that sum, and the loss of each image.

        What it makes is gone when it returns: kept to the next part, it would keep its memory in pieces.
        """
        experiment = self.experiment
        images = fetch_images(
            self.pixels, plan.ids[part], experiment.spec.seed, plan.epoch, experiment.data.flip
        )
        batch = plan.draws.batch(images.to(experiment.device), part)
        objective, losses = step_loss(experiment, self.network, batch, self.trained.weighting)
        scale = plan.importance[part].to(experiment.device) / len(plan.ids)
        total = (objective * scale).sum()
        total.backward()
        return total.detach(), losses.detach()


def reduce_and_clip(parameters: Sequence[nn.Parameter], largest: float | None, world: World) -> float:
    """Sum the gradients over the processes, bound their norm; returns the norm before that."""
    if world.size > 1:
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        for parameter, grad in zip(
            parameters, world.sum_(flat).split([p.numel() for p in parameters]), strict=True
        ):
            parameter.grad = grad.view_as(parameter)
    return float(nn.utils.clip_grad_norm_(parameters, math.inf if largest is None else largest))


def _near(pixels: Tensor, device: torch.device) -> Tensor:
    """The images on the device, if they leave most of its memory free."""
    fits = device.type != "cuda" or pixels.nbytes < torch.cuda.mem_get_info(device)[0] // 4
    return pixels.to(device) if fits else pixels
