"""Images from a network: batches, processes and stop requests around the one sampling loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..images import to_pixels
from ..rows import Plan, Row
from ..sampling.editing import SamplingInputs
from ..sampling.loop import sample
from ..training.experiment import Experiment
from ..world import World

Progress = Callable[[int, int], None]
"""Called after each row with (rows done, rows in all); raises to stop."""


@dataclass(frozen=True, eq=False, slots=True)
class Samples:
    """Which images to generate. Image i depends on the seed, on i, on its label and on what it starts from."""

    count: int
    seed: int
    """64 bits; all noise is drawn for it."""
    labels: Tensor | None = None
    """int64 [count], for a network with classes; None: each class has its even share, in order."""
    given: SamplingInputs | None = None
    """What the images start from besides noise of their own."""

    def labels_for(self, experiment: Experiment) -> Tensor | None:
        """int64 [count]; None for a network without classes."""
        return experiment.spread(self.count) if self.labels is None else self.labels


@dataclass(frozen=True, eq=False, slots=True)
class Generated:
    """Images that a network has generated."""

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
        which = (
            "" if len(broken) == len(self.finite) else f", the first is number {broken[0]} (counted from 0)"
        )
        return f"{len(broken):,} of {len(self.finite):,} images are not finite (NaN or infinity){which}"


def generate(
    experiment: Experiment,
    network: nn.Module,
    plan: Plan,
    samples: Samples,
    *,
    batch_size: int = 128,
    world: World | None = None,
    progress: Progress | None = None,
) -> Generated:
    """Run the plan for all `samples`; the batch size and the number of processes change no image."""
    world = world or World()
    device = torch.device("cpu") if world.size == 1 else experiment.device
    pixels = torch.zeros(samples.count, *experiment.image_shape, dtype=torch.uint8, device=device)
    finite = torch.zeros(samples.count, dtype=torch.uint8, device=device)
    parts = world.part(torch.arange(samples.count)).split(batch_size)
    with _evaluating(network):
        for done, ids in enumerate(parts):

            def callback(index: int, row: Row, x: Tensor, m: Tensor, done: int = done) -> None:
                if progress is not None:
                    progress(done * len(plan) + index + 1, len(parts) * len(plan))

            if len(ids):
                x = _sample(experiment, network, plan, samples, ids, callback)
                places, (images, whole) = ids.to(device), _finished(x)
                pixels[places], finite[places] = images.to(device), whole.to(finite)
    return Generated(world.sum_(pixels).cpu(), world.sum_(finite).cpu().bool())


def denoising(
    experiment: Experiment, network: nn.Module, plan: Plan, samples: Samples, *, frames: int
) -> Generated:
    """The same images on their way from noise: pixels [frames, count, c, h, w], evenly spaced over the plan's rows."""
    keep = {round(i * (len(plan) - 1) / max(1, frames - 1)) for i in range(frames)}
    taken: list[Tensor] = []

    def callback(index: int, row: Row, x: Tensor, m: Tensor) -> None:
        if index in keep:
            taken.append(_finished(x)[0].cpu())

    with _evaluating(network):
        x = _sample(experiment, network, plan, samples, torch.arange(samples.count), callback)
    return Generated(torch.stack(taken), _finished(x)[1].cpu())


def _sample(
    experiment: Experiment,
    network: nn.Module,
    plan: Plan,
    samples: Samples,
    ids: Tensor,
    callback: Callable[[int, Row, Tensor, Tensor], None],
) -> Tensor:
    """The images `ids` of `samples`: float [n, c, h, w], in [−1, 1] but for what the network overshoots."""
    labels = samples.labels_for(experiment)
    return sample(
        experiment.denoiser(network, None if labels is None else labels[ids]),
        plan,
        (len(ids), *experiment.image_shape),
        seed=samples.seed,
        device=experiment.device,
        callback=callback,
        self_condition=experiment.spec.model.self_conditioned,
        **{"sample_ids": ids, **(samples.given.select(ids) if samples.given else {})},
    )


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, and afterwards as it was."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


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
