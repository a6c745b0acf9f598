"""One training step in three parts: a plan made on the host, the work on the device, and a result.

The plan contains all that can be decided without the device: the images, timesteps, noise, labels and
learning rate.
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
    """All decisions about a step; tensors are on the CPU."""

    step: int
    """The step, counted from 0."""
    epoch: int
    """The epoch, counted from 0."""
    draws: Draws
    """The random choices for its images."""
    importance: Tensor
    """Factor of each image's objective that corrects for how often its timestep is drawn: float32 [B]."""
    zero_loss: float
    """Upper bound of the expected mean loss of an output of 0."""
    scheduled_lr: float
    """Learning rate by the schedule."""
    lr: float
    """The scheduled learning rate, halved once for each rollback."""

    @property
    def ids(self) -> Tensor:
        """Ids of the batch's images, int64 [B]."""
        return self.draws.noise.sample_ids


@dataclass(frozen=True, slots=True)
class StepResult:
    """The measurements of a step."""

    loss: float
    """The mean objective of the whole batch."""
    grad_norm: float
    """Norm of the gradient before clipping."""
    losses: Tensor
    """Loss of each image, without importance: float32 [B] on the device; 0 for images of other processes."""

    @property
    def is_finite(self) -> bool:
        """Whether the loss and the gradient are finite, so that the step has changed the weights."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


class Trainer:
    """Runs the steps of a training run, one at a time."""

    def __init__(self, experiment: Experiment, trained: Trained, world: World) -> None:
        self.experiment, self.trained, self.world = experiment, trained, world
        self.spec, self.parameters = experiment.spec.train, trained.parameters
        self.pixels = _on_device_if_it_fits(experiment.data.train.pixels, experiment.device)
        self.steps = total_steps(self.spec, len(self.pixels))
        self.network: Network = torch.compile(trained.network) if self.spec.compile else trained.network
        self.zero_losses = zero_output_loss(experiment)
        self.importance = experiment.coefficients.importance.cpu()

    # -- on the host

    def plan(self, state: TrainState, order: Tensor) -> StepPlan:
        """The next step after `state`, in a pass over the images in this `order`, int64 [images]."""
        ids = order[state.batch * self.spec.batch_size : (state.batch + 1) * self.spec.batch_size]
        draws = draw_step(self.experiment, ids, state.step, self.trained.time)
        by_index = self.importance if self.trained.time is None else self.trained.time.importance()  # [T]
        importance = by_index[draws.t]  # [B]
        zero_loss = float((self.zero_losses[draws.t] * importance).mean())
        scheduled = learning_rate(self.spec, state.step, self.steps)
        lr = scheduled * 0.5 ** len(state.rollbacks)
        return StepPlan(state.step, state.epoch, draws, importance.float(), zero_loss, scheduled, lr)

    # -- on the device

    def take(self, plan: StepPlan) -> StepResult:
        """Run the step: forward, backward, clipping and update. It changes no weights if it is not finite."""
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
        """This process's images in up to `accumulate` parts, none empty, as indices into the batch."""
        size = math.ceil(math.ceil(images / self.world.size) / self.spec.accumulate)
        return [part for part in self.world.part(torch.arange(images)).split(size) if len(part)]

    def _backward(self, plan: StepPlan, part: Tensor) -> tuple[Tensor, Tensor]:
        """Add the gradient of Σ importance·objective/B over part of a batch; returns the sum and the losses.

        A function of its own, so that its tensors are freed before the next part: kept longer, they would
        fragment memory.
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


def reduce_and_clip(parameters: Sequence[nn.Parameter], max_norm: float | None, world: World) -> float:
    """Sum the gradients over the processes, and clip their norm; returns the norm before clipping."""
    if world.size > 1:
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        for parameter, grad in zip(
            parameters, world.sum_(flat).split([p.numel() for p in parameters]), strict=True
        ):
            parameter.grad = grad.view_as(parameter)
    return float(nn.utils.clip_grad_norm_(parameters, math.inf if max_norm is None else max_norm))


def _on_device_if_it_fits(pixels: Tensor, device: torch.device) -> Tensor:
    """The images, moved to the device if they take less than a quarter of its free memory."""
    fits = device.type != "cuda" or pixels.nbytes < torch.cuda.mem_get_info(device)[0] // 4
    return pixels.to(device) if fits else pixels
