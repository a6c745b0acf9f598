"""Generating many images: batches, processes and progress around the sampling loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..images import to_pixels
from ..rows import Plan, Row
from ..sampling.editing import SamplingInputs
from ..sampling.loop import sample
from ..sampling.network import evaluating
from ..training.experiment import Experiment
from ..world import World

Progress = Callable[[int, int], None]
"""Called after each row of the plan with (rows done, rows in total); may raise to stop."""


@dataclass(frozen=True, eq=False, slots=True)
class Samples:
    """Which images to generate. Image i depends only on the seed, i, its label and its inputs."""

    count: int
    """How many images."""
    seed: int
    """64-bit seed of all noise."""
    labels: Tensor | None = None
    """int64 [count], for a class-conditional network. None: equally many images of each class, in order."""
    inputs: SamplingInputs | None = None
    """Images, masks or states to start from. None: each image starts from its own noise."""

    def labels_for(self, experiment: Experiment) -> Tensor | None:
        """The images' labels, int64 [count]; None for a network without classes."""
        return experiment.spread(self.count) if self.labels is None else self.labels


@dataclass(frozen=True, eq=False, slots=True)
class Generated:
    """Images that a network generated."""

    pixels: Tensor
    """uint8 [n, c, h, w], on the CPU; an image that is not finite is black."""
    finite: Tensor
    """bool [n]: which images contain neither NaN nor infinity."""

    @property
    def problem(self) -> str:
        """How many images are not finite, and which is the first; empty if all are finite."""
        return not_finite(self.finite)


def not_finite(finite: Tensor) -> str:
    """How many images are not finite, bool [n], and which is the first; empty if all are finite."""
    broken = (~finite).nonzero().flatten().tolist()
    if not broken:
        return ""
    first = "" if len(broken) == len(finite) else f", the first is number {broken[0]} (counted from 0)"
    return f"{len(broken):,} of {len(finite):,} images are not finite (NaN or infinity){first}"


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
    """Run the plan for all `samples`. The batch size and the number of processes do not change any image."""
    world = world or World()
    device = torch.device("cpu") if world.size == 1 else experiment.device
    pixels = torch.zeros(samples.count, *experiment.image_shape, dtype=torch.uint8, device=device)
    finite = torch.zeros(samples.count, dtype=torch.uint8, device=device)
    parts = world.part(torch.arange(samples.count)).split(batch_size)
    for ids, x in _batches(experiment, network, plan, samples, parts, progress):
        indices, (images, are_finite) = ids.to(device), _to_pixels(x)
        pixels[indices], finite[indices] = images.to(device), are_finite.to(finite)
    return Generated(world.sum_(pixels).cpu(), world.sum_(finite).cpu().bool())


def states(
    experiment: Experiment,
    network: nn.Module,
    plan: Plan,
    samples: Samples,
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> Tensor:
    """Run the plan for all `samples`: the images of `generate` before they become bytes, float32
    [n, c, h, w] on the CPU."""
    parts = torch.arange(samples.count).split(batch_size)
    batches = _batches(experiment, network, plan, samples, parts, progress)
    return torch.cat([x.float().cpu() for _, x in batches])


def _batches(
    experiment: Experiment,
    network: nn.Module,
    plan: Plan,
    samples: Samples,
    parts: Sequence[Tensor],
    progress: Progress | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The ids [b] and the images float [b, c, h, w] of each part that has any."""
    with evaluating(network):
        for done, ids in enumerate(parts):

            def callback(index: int, row: Row, x: Tensor, m: Tensor, done: int = done) -> None:
                if progress is not None:
                    progress(done * len(plan) + index + 1, len(parts) * len(plan))

            if len(ids):
                yield ids, _sample(experiment, network, plan, samples, ids, callback)


def denoising(
    experiment: Experiment, network: nn.Module, plan: Plan, samples: Samples, *, frames: int
) -> Generated:
    """Generate the same images frame by frame: pixels [frames, count, c, h, w].

    The frames are evenly spaced over the plan's rows, and the last one is the finished image.
    """
    keep = {round(i * (len(plan) - 1) / max(1, frames - 1)) for i in range(frames)}
    kept: list[Tensor] = []

    def callback(index: int, row: Row, x: Tensor, m: Tensor) -> None:
        if index in keep:
            kept.append(_to_pixels(x)[0].cpu())

    with evaluating(network):
        x = _sample(experiment, network, plan, samples, torch.arange(samples.count), callback)
    return Generated(torch.stack(kept), _to_pixels(x)[1].cpu())


def _sample(
    experiment: Experiment,
    network: nn.Module,
    plan: Plan,
    samples: Samples,
    ids: Tensor,
    callback: Callable[[int, Row, Tensor, Tensor], None],
) -> Tensor:
    """The images `ids` of `samples`: float [n, c, h, w], in [−1, 1] unless the network overshoots."""
    labels = samples.labels_for(experiment)
    return sample(
        experiment.denoiser(network, None if labels is None else labels[ids]),
        plan,
        (len(ids), *experiment.image_shape),
        seed=samples.seed,
        device=experiment.device,
        callback=callback,
        self_condition=experiment.spec.model.self_conditioned,
        **{"sample_ids": ids, **(samples.inputs.select(ids) if samples.inputs else {})},
    )


def _to_pixels(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels, uint8 [n, c, h, w], and which images are finite, bool [n]; the others are black."""
    finite = x.isfinite().flatten(1).all(1)
    return to_pixels(x.masked_fill(~finite.view(-1, 1, 1, 1), -1.0)), finite


def broken_weights(network: nn.Module) -> str:
    """A message that names the first weights that are not finite; empty if all are finite."""
    for name, tensor in network.state_dict().items():
        if not bool(tensor.isfinite().all()):
            count = int((~tensor.isfinite()).sum())
            return f"the network's weights are not finite: {count:,} of {tensor.numel():,} values of {name}"
    return ""
