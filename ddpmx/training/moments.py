"""Moments of a network, measured on training images, for samplers that need them.

The estimate of 1 − Γ_t = E(‖ε‖² − ‖ε̂(x_t)‖²)/d has two ways to vary less. ‖ε‖² replaces its expectation, so
that what both norms share cancels; and each image is used with ε and −ε, which cancels the first order of
their difference. Without them the error would grow with sigma/signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .. import ops
from ..data import Images
from ..images import to_model
from ..ops import Noise, Purpose, stream
from ..samplers import Moments, Sampler
from ..samplers.moments import Gamma
from ..world import World
from .experiment import Experiment

LEAST_IMAGES, LEAST_VALUES = 32, 2**13
"""Γ is a mean over at least so many images, and over at least so many values of their pixels."""
MOST_IMAGES = 10_000
"""Most images that the variance of the pixels is taken from."""
Progress = Callable[[int, int], None]
"""Called with (done, total)."""


def moment_images(shape: Sequence[int]) -> int:
    """The number of training images of a shape [c, h, w] that a moment is a mean over."""
    return max(LEAST_IMAGES, math.ceil(LEAST_VALUES / math.prod(shape)))


def sampler_passes(experiment: Experiment, sampler: Sampler) -> int:
    """Forward passes of one image through the network for the moments that a sampler needs; 0 for none."""
    if not sampler.needs_moments:
        return 0
    return sampler.plan(experiment.table, experiment.prediction).evaluations * index_passes(experiment)


def index_passes(experiment: Experiment) -> int:
    """Forward passes of one image through the network for the moments at one index."""
    each = 2 if experiment.spec.model.self_conditioned else 1
    return 2 * each * moment_images(experiment.image_shape)


@torch.no_grad()
def measure_moments(
    experiment: Experiment,
    network: nn.Module,
    timesteps: Sequence[float],
    world: World | None = None,
    progress: Progress = lambda done, total: None,
) -> Moments:
    """Γ of the network at table indices, a function of the weights, the images and `evaluate.seed`.

    The same images and noise serve every index. Where there are fewer images than needed, each is used with
    several ε. A network with classes gets the images' own, without guidance.
    """
    world, count = world or World(), moment_images(experiment.image_shape)
    images = experiment.data.train
    device = experiment.device
    dtype = torch.float32 if device.type == "mps" else torch.float64
    parts = world.part(torch.arange(count)).split(max(1, experiment.spec.evaluate.batch_size // 2))
    # 1 − Γ of each image, at each index
    values = torch.zeros(len(timesteps), count, dtype=dtype, device=device)
    was_training = network.training
    network.eval()
    for row, t in enumerate(timesteps):
        for done, ids in enumerate(parts):
            progress(row * len(parts) + done, len(timesteps) * len(parts))
            if len(ids):
                part = images.take(ids % len(images))
                labels = part.labels if experiment.classes else None
                x_start = to_model(part.pixels).to(device)
                values[row, ids] = _one_minus_gamma(experiment, network, x_start, labels, (t, ids)).to(values)
    network.train(was_training)
    values = world.sum_(values).cpu().double()
    errors = values.std(1) / math.sqrt(count)
    gammas = zip(timesteps, (1 - values.mean(1)).tolist(), errors.tolist(), strict=True)
    return Moments(count, pixel_variance(images), {t: Gamma(value, error) for t, value, error in gammas})


def pixel_variance(images: Images) -> float:
    """Variance of a pixel in [−1, 1] over the images, the mean over all pixels; of the first MOST_IMAGES."""
    squares, chosen = 0.0, images.pixels[:MOST_IMAGES]
    mean = torch.zeros(chosen.shape[1:], dtype=torch.float64)
    for part in chosen.split(1000):
        x = to_model(part).double()
        mean += x.sum(0)
        squares += float(x.square().sum())
    # E x² − (E x)², summed over the pixels
    variance = squares / len(chosen) - float((mean / len(chosen)).square().sum())
    return max(variance, 0.0) / mean.numel()


def _one_minus_gamma(
    experiment: Experiment,
    network: nn.Module,
    x_start: Tensor,
    labels: Tensor | None,
    at: tuple[float, Tensor],
) -> Tensor:
    """(‖ε‖² − ‖ε̂‖²)/d of each image at index t, the mean over ε and −ε: float64 [b] on the CPU.

    `at` is (t, the ids [b] that ε is drawn for).
    """
    t, ids = at
    times = torch.full((2 * len(ids),), t, dtype=torch.float64)
    signal, sigma = experiment.table.at(times[:1])
    if float(sigma) == 0 or float(signal) == 0:
        return torch.zeros(len(ids), dtype=torch.float64)
    noise = Noise(experiment.spec.evaluate.seed, stream(Purpose.MOMENTS, 0), ids.to(x_start.device))
    epsilon = ops.normal(noise=noise, shape=x_start.shape[1:])
    epsilon = torch.cat((epsilon, -epsilon))
    x_t = float(signal) * x_start.repeat(2, 1, 1, 1) + float(sigma) * epsilon
    labels = None if labels is None else labels.repeat(2)
    x0 = predicted_x0(experiment, network, x_t, times, labels)
    # ε̂ = (x_t − signal·x̂_0)/sigma
    predicted = (x_t.cpu().double() - signal * x0) / sigma
    difference = epsilon.cpu().double().square() - predicted.square()
    return difference.flatten(1).mean(1).view(2, -1).mean(0)


def predicted_x0(
    experiment: Experiment, network: nn.Module, x_t: Tensor, t: Tensor, labels: Tensor | None
) -> Tensor:
    """x_0 as the network predicts it for x_t [b, c, h, w] at table indices t [b]: float64 on the CPU.

    The indices may be fractional. A self-conditioned network runs twice, as in training.
    """
    from_x, from_output = (
        column.view(-1, 1, 1, 1) for column in experiment.prediction.x0_from(*experiment.table.at(t))
    )

    def run(estimate: Tensor | None) -> Tensor:
        output = experiment.output(network, x_t, t, labels, estimate)[:, : x_t.shape[1]]
        return from_x * x_t.cpu().double() + from_output * output.cpu().double()

    if not experiment.spec.model.self_conditioned:
        return run(None)
    return run(run(None).clamp(-1, 1).to(x_t))
