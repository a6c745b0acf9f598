"""Images from a network: batches, processes and stop requests around the one sampling loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..images import to_pixels
from ..rows import Plan, Row
from ..sampling.editing import Given
from ..sampling.loop import sample
from ..training.experiment import Experiment
from ..world import World

Progress = Callable[[int, int], None]
"""Called after each row with (rows done, rows in all); raises to stop."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a network has drawn."""

    pixels: Tensor
    """uint8 [n, c, h, w], on the CPU; an image that is not finite is black."""
    finite: Tensor
    """bool [n]: which images hold neither NaN nor infinity."""

    @property
    def problem(self) -> str:
        """How many of the images are not finite, and which is the first; empty where all are finite."""
        broken = (~self.finite).nonzero().flatten().tolist()
        if not broken:
            return ""
        which = "" if len(broken) == len(self.finite) else f", the first is number {broken[0]} (counted from 0)"
        return f"{len(broken):,} of {len(self.finite):,} images are not finite (NaN or infinity){which}"


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
) -> Drawn:
    """`count` images; image i depends on seed, i and its label only, whatever the batch size and the number of processes.

    `labels`, int64 [count], are for a network with classes; by default each class has its even share, in order. `given` is what
    the images are drawn from besides noise.
    """
    world = world or World()
    labels = experiment.spread(count) if labels is None else labels
    shape = experiment.image_shape
    device = torch.device("cpu") if world.size == 1 else experiment.device
    pixels = torch.zeros(count, *shape, dtype=torch.uint8, device=device)
    finite = torch.zeros(count, dtype=torch.uint8, device=device)
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
            places, (images, whole) = ids.to(device), _finished(x)
            pixels[places], finite[places] = images.to(device), whole.to(finite)
    network.train(was_training)
    return Drawn(world.sum_(pixels).cpu(), world.sum_(finite).cpu().bool())


def _finished(x: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels of images, and which of them are finite, bool [n]; the others are black."""
    finite = x.isfinite().flatten(1).all(1)
    return to_pixels(x.masked_fill(~finite.view(-1, 1, 1, 1), -1.0)), finite


def broken_weights(network: nn.Module) -> str:
    """Where the network's weights are not finite; empty where all are."""
    for name, tensor in network.state_dict().items():
        if not bool(tensor.isfinite().all()):
            return f"the network's weights are not finite: {int((~tensor.isfinite()).sum()):,} of {tensor.numel():,} values of {name}"
    return ""


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
) -> Drawn:
    """The same images on their way: pixels [frames, count, c, h, w], from noise to image, evenly spaced over the rows."""
    labels = experiment.spread(count) if labels is None else labels
    keep = sorted({round(i * (len(plan) - 1) / max(1, frames - 1)) for i in range(frames)})
    taken: list[Tensor] = []

    def callback(index: int, row: Row, x: Tensor, m: Tensor) -> None:
        if index in keep:
            taken.append(_finished(x)[0].cpu())

    network.eval()
    shape = (count, *experiment.image_shape)
    start = given.of(torch.arange(count)) if given else {}
    x = sample(
        experiment.denoiser(network, labels),
        plan,
        shape,
        seed=seed,
        device=experiment.device,
        callback=callback,
        self_condition=experiment.spec.model.self_conditioned,
        **start,
    )
    return Drawn(torch.stack(taken), _finished(x)[1].cpu())
