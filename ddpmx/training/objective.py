"""The objective of one batch: which timesteps, what noise, what loss.

Each random number is a function of (seed, purpose, epoch or step, image id), so a resumed run, another number of
processes and another accumulation draw the same timesteps, noise and flips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..ops import Purpose, stream
from ..theory.variance import vlb_terms
from ..times import TimeState
from .classes import shown_labels
from .coefficients import Coefficients
from .experiment import Experiment

Network = Callable[..., Tensor]
"""network(x, time), or network(x, time, labels) for one with classes."""


def batch(pixels: Tensor, ids: Tensor, seed: int, epoch: int, flip: bool) -> Tensor:
    """The images `ids` of a set [n, c, h, w] of bytes, for the model: float32 [b, c, h, w] in [−1, 1].

    With `flip`, half of the images are mirrored, another half each epoch.
    """
    return ops.fetch(pixels, ids, flips=stream(Purpose.FLIP, epoch) if flip else None, seed=seed)


def timesteps(experiment: Experiment, ids: Tensor, step: int, learned: TimeState | None = None) -> Tensor:
    """The timestep of each image of a whole batch, int64 [B]: some distributions look at all of it, some at earlier losses."""
    spec = experiment.spec
    u = ops.uniform(ids, stream(Purpose.TIME, step), spec.seed)
    return spec.time.draw(u, experiment.table) if learned is None else learned.draw(u)


def step_loss(
    experiment: Experiment,
    network: Network,
    x_start: Tensor,
    t: Tensor,
    ids: Tensor,
    step: int,
    learned: nn.Module | None = None,
) -> tuple[Tensor, Tensor]:
    """(objective, loss), [b] each, of images at indices t, with the noise of (seed, step, id); neither has the time's importance.

    They are the same, unless the weighting is `learned`: with its u the loss is loss/exp(u), and the objective loss/exp(u) + u
    (Karras et al. 2024, arXiv:2312.02696).
    """
    seed, noise, labels = experiment.spec.seed, stream(Purpose.NOISE, step), shown_labels(experiment, ids, step)
    t = t.to(x_start.device)
    twice = experiment.spec.model.self_conditioned and runs_twice(seed, step)
    loss = loss_at(experiment, network, x_start, t, ids, seed, noise, labels, twice=twice)
    if learned is None:
        return loss, loss
    u = learned(experiment.coefficients.log_snr[t])
    loss = loss * torch.exp(-u)
    return loss + u, loss


def loss_of_nothing(experiment: Experiment) -> Tensor:
    """The most that an output of 0 can have as its loss at each index, float64 [T] on the CPU; inf where no such bound is known.

    weight·norm(√(target_x² + target_eps²)): pixels are in [−1, 1], ε has variance 1, and each norm is concave in the squared error.
    A learned variance has no bound, as its L_vlb has none.
    """
    c, loss = experiment.coefficients, experiment.spec.loss
    root = (c.target_x.double().square() + c.target_eps.double().square()).sqrt().cpu()
    if c.posterior is not None:
        return torch.full_like(root, torch.inf)
    if loss.norm == "huber":
        return c.weight.double().cpu() * F.huber_loss(root, torch.zeros_like(root), reduction="none", delta=loss.delta)
    return c.weight.double().cpu() * (root if loss.norm == "l1" else root.square())


def runs_twice(seed: int, step: int) -> bool:
    """Whether a training step of a self-conditioned network estimates x_0 first: half of the steps, a function of both."""
    return float(ops.uniform(torch.zeros(1, dtype=torch.int64), stream(Purpose.SELF_CONDITION, step), seed)) < 0.5


def loss_at(
    experiment: Experiment,
    network: Network,
    x_start: Tensor,
    t: Tensor,
    ids: Tensor,
    seed: int,
    noise: int,
    labels: Tensor | None = None,
    *,
    twice: bool = True,
) -> Tensor:
    """The weighted loss [b] at indices t: `loss_of` what `predict_at` gives."""
    t, ids = t.to(x_start.device), ids.to(x_start.device)
    predicted = predict_at(experiment, network, x_start, t, ids, seed, noise, labels, twice=twice)
    return loss_of(experiment, predicted, x_start, t, ids, seed, noise)


@dataclass(frozen=True)
class Predicted:
    """What the network makes of noised images: tensors [b, c, h, w]."""

    x_t: Tensor
    epsilon: Tensor | None
    """The noise; None where it is made once more for the loss."""
    output: Tensor
    v: Tensor | None
    """Of a learned variance."""

    def x0(self, c: Coefficients, t: Tensor) -> Tensor:
        """The clean image that the output means."""
        return _x0(c, t, self.x_t, self.output)


def _x0(c: Coefficients, t: Tensor, x_t: Tensor, output: Tensor) -> Tensor:
    return _column(c.x0_from_x[t]) * x_t + _column(c.x0_from_output[t]) * output.float()


def predict_at(
    experiment: Experiment,
    network: Network,
    x_start: Tensor,
    t: Tensor,
    ids: Tensor,
    seed: int,
    noise: int,
    labels: Tensor | None = None,
    *,
    twice: bool = True,
) -> Predicted:
    """The network's output for images at indices t, with the noise of (seed, stream `noise`, id); all on one device.

    A self-conditioned network is run `twice`, first on zeros and without gradient, then on the x_0 that this gives; else once,
    on zeros (Chen et al. 2022, arXiv:2208.04202, algorithm 1). `labels` [b] are for a network with classes.
    """
    c = experiment.coefficients
    told = () if labels is None else (labels.to(x_start.device),)
    epsilon = training_noise(x_start, ids, noise, seed)
    x_t = ops.add_noise(x_start, c.signal[t], c.sigma[t], seed=seed, sample_ids=ids, stream=noise, noise=epsilon)
    scale = None if c.input_scale is None else c.input_scale[t]

    def run(x0: Tensor | None) -> Tensor:
        seen = experiment.network_input(x_t, scale, x0)
        with experiment.autocast():
            return network(seen, c.time[t], *told)

    estimate = None
    if twice and experiment.spec.model.self_conditioned:
        with torch.no_grad():
            estimate = _x0(c, t, x_t, run(None)[:, : x_start.shape[1]]).clamp(-1, 1)
    output, *v = run(estimate).split(x_start.shape[1], dim=1)
    return Predicted(x_t, epsilon, output, v[0] if v else None)


def loss_of(experiment: Experiment, predicted: Predicted, x_start: Tensor, t: Tensor, ids: Tensor, seed: int, noise: int) -> Tensor:
    """The weighted loss [b] of what `predict_at` gives for the same arguments.

    Where the network learns the variance, it is L_simple + variance_weight·L_vlb, and no gradient of L_vlb reaches the mean
    (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 16).
    """
    c, loss = experiment.coefficients, experiment.spec.loss
    losses = ops.weighted_loss(
        predicted.output,
        x_start,
        c.target_x[t],
        c.target_eps[t],
        c.weight[t],
        norm=loss.norm,
        delta=loss.delta,
        seed=seed,
        sample_ids=ids,
        stream=noise,
        noise=predicted.epsilon,
    )
    if c.posterior is None or predicted.v is None:
        return losses
    log_variance = c.posterior.log_variance(predicted.v.float(), t)
    bits = vlb_terms(x_start, predicted.x_t, predicted.x0(c, t).detach(), log_variance, t, c.posterior)
    return losses + loss.variance_weight * experiment.table.timesteps * bits


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def training_noise(x_start: Tensor, ids: Tensor, stream: int, seed: int) -> Tensor | None:
    """ε, to be kept from the noising to the loss. None on a GPU, where to make it twice costs less than to read it."""
    return None if x_start.device.type == "cuda" else ops.normal(ids, stream, seed, x_start.shape[1:])
