"""The objective of one batch: which timesteps, what noise, what loss.

Each random number is a function of (seed, purpose, epoch or step, image id), so a resumed run, another number of
processes and another accumulation draw the same timesteps, noise and flips.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import ops
from .classes import shown_labels
from .experiment import Experiment
from .images import to_model
from .ops import Purpose, stream
from .world import World

Network = Callable[..., Tensor]
"""network(x, time), or network(x, time, labels) for one with classes."""


def flipped(x: Tensor, ids: Tensor, seed: int, epoch: int, flip: bool) -> Tensor:
    """Mirror half of the images [b, c, h, w], another half each epoch."""
    if not flip:
        return x
    mirror = ops.uniform(ids, stream(Purpose.FLIP, epoch), seed) < 0.5
    return torch.where(mirror.to(x.device)[:, None, None, None], x.flip(-1), x)


def timesteps(experiment: Experiment, ids: Tensor, step: int) -> Tensor:
    """The timestep of each image of a whole batch, int64 [B]: some distributions look at all of it."""
    spec = experiment.spec
    t: Tensor = spec.time.draw(ops.uniform(ids, stream(Purpose.TIME, step), spec.seed), experiment.table)
    return t


def step_loss(experiment: Experiment, network: Network, x_start: Tensor, t: Tensor, ids: Tensor, step: int) -> Tensor:
    """The training loss [b] of images at indices t, with the noise of (seed, step, id): weighted, also for how t are drawn."""
    t = t.to(x_start.device)
    labels = shown_labels(experiment, ids, step)
    losses = loss_at(experiment, network, x_start, t, ids, experiment.spec.seed, stream(Purpose.NOISE, step), labels)
    return losses * experiment.coefficients.importance[t]


def loss_at(
    experiment: Experiment,
    network: Network,
    x_start: Tensor,
    t: Tensor,
    ids: Tensor,
    seed: int,
    noise: int,
    labels: Tensor | None = None,
) -> Tensor:
    """The weighted loss [b] at indices t, with the noise of (seed, stream `noise`, id); `labels` [b] for a network with classes."""
    c, loss = experiment.coefficients, experiment.spec.loss
    t, ids = t.to(x_start.device), ids.to(x_start.device)
    epsilon = training_noise(x_start, ids, noise, seed)
    x_t = ops.add_noise(x_start, c.signal[t], c.sigma[t], seed=seed, sample_ids=ids, stream=noise, noise=epsilon)
    scaled = x_t if c.input_scale is None else x_t * c.input_scale[t].view(-1, 1, 1, 1)
    with experiment.autocast():
        output = network(scaled, c.time[t]) if labels is None else network(scaled, c.time[t], labels.to(x_start.device))
    return ops.weighted_loss(
        output,
        x_start,
        c.target_x[t],
        c.target_eps[t],
        c.weight[t],
        norm=loss.norm,
        delta=loss.delta,
        seed=seed,
        sample_ids=ids,
        stream=noise,
        noise=epsilon,
    )


def training_noise(x_start: Tensor, ids: Tensor, stream: int, seed: int) -> Tensor | None:
    """ε, to be kept from the noising to the loss. None on a GPU, where to make it twice costs less than to read it."""
    return None if x_start.device.type == "cuda" else ops.normal(ids, stream, seed, x_start.shape[1:])


@torch.no_grad()
def validation_loss(experiment: Experiment, network: nn.Module, world: World) -> float:
    """Mean weighted loss of the validation images, each at its own fixed timestep and noise.

    The timesteps are stratified, so that the set covers all of them evenly; `evaluate.seed` fixes both.
    """
    images, seed, device = experiment.data.validation, experiment.spec.evaluate.seed, experiment.device
    labels = images.labels if experiment.classes else None
    ids = torch.arange(len(images))
    jitter = ops.uniform(ids, stream(Purpose.VALIDATION_TIME, 0), seed)
    strata = ops.bits(ids, stream(Purpose.VALIDATION_TIME, 1), seed).argsort(stable=True)
    t = ((strata + jitter) / len(ids) * experiment.table.timesteps).long()
    was_training = network.training
    network.eval()
    total = torch.zeros((), dtype=torch.float64, device="cpu" if device.type == "mps" else device)
    for part in world.part(ids).split(experiment.spec.train.batch_size):
        x_start = to_model(images.pixels[part].to(device))
        told = None if labels is None else labels[part]
        losses = loss_at(experiment, network, x_start, t[part], part, seed, stream(Purpose.VALIDATION_NOISE, 0), told)
        total += losses.to(total.device, torch.float64).sum()
    network.train(was_training)
    return float(world.sum_(total)) / len(ids)
