"""Images from a network: batches, processes and stop requests around the one sampling loop."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .editing import Given
from .experiment import Experiment
from .images import to_pixels
from .rows import Plan, Row
from .sampling import sample
from .world import World

Progress = Callable[[int, int], None]
"""Called after each row with (rows done, rows in all); raises to stop."""


def generate(
    experiment: Experiment,
    network: nn.Module,
    plan: Plan,
    count: int,
    *,
    seed: int,
    labels: Tensor | None = None,
    given: Given | None = None,
    batch_size: int = 128,
    world: World | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """uint8 [count,c,h,w]; image i depends on seed, i and its label only, whatever the batch size and the number of processes.

    `labels`, int64 [count], are for a network with classes; by default each class has its even share, in order. `given` is what
    the images are drawn from besides noise.
    """
    world = world or World()
    labels = experiment.spread(count) if labels is None else labels
    shape = experiment.image_shape
    device = torch.device("cpu") if world.size == 1 else experiment.device
    pixels = torch.zeros(count, *shape, dtype=torch.uint8, device=device)
    parts = world.part(torch.arange(count)).split(batch_size)
    was_training = network.training
    network.eval()
    for done, ids in enumerate(parts):

        def callback(index: int, row: Row, x: Tensor, m: Tensor, done: int = done) -> None:
            if progress is not None:
                progress(done * len(plan) + index + 1, len(parts) * len(plan))

        if len(ids):
            x = sample(
                experiment.denoiser(network, None if labels is None else labels[ids]),
                plan,
                (len(ids), *shape),
                seed=seed,
                device=experiment.device,
                callback=callback,
                self_condition=experiment.spec.model.self_conditioned,
                **{"sample_ids": ids, **(given.of(ids) if given else {})},
            )
            pixels[ids.to(device)] = to_pixels(x).to(device)
    network.train(was_training)
    return world.sum_(pixels).cpu()


def denoising(
    experiment: Experiment,
    network: nn.Module,
    plan: Plan,
    count: int,
    *,
    seed: int,
    frames: int,
    labels: Tensor | None = None,
    given: Given | None = None,
) -> Tensor:
    """The same images on their way: uint8 [frames, count, c, h, w], from noise to image, evenly spaced over the rows."""
    labels = experiment.spread(count) if labels is None else labels
    keep = sorted({round(i * (len(plan) - 1) / max(1, frames - 1)) for i in range(frames)})
    taken: list[Tensor] = []

    def callback(index: int, row: Row, x: Tensor, m: Tensor) -> None:
        if index in keep:
            taken.append(to_pixels(x).cpu())

    network.eval()
    shape = (count, *experiment.image_shape)
    start = given.of(torch.arange(count)) if given else {}
    sample(
        experiment.denoiser(network, labels),
        plan,
        shape,
        seed=seed,
        device=experiment.device,
        callback=callback,
        self_condition=experiment.spec.model.self_conditioned,
        **start,
    )
    return torch.stack(taken)
