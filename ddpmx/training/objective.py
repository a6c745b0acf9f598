"""The objective of a training batch: its timesteps, noise and loss.

Each random number is a function of (seed, purpose, epoch or step, image id). So a resumed run draws the same
timesteps, noise and flips, and so does a run with another number of processes or accumulation steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..objective.steps import Norm, weighted_loss
from ..ops import Noise, Purpose, stream
from ..times import TimeState
from .batch import Batch, Draws
from .classes import labels_with_dropout
from .experiment import Experiment
from .predicted import Network, Predicted, bound_terms, predict


def timesteps(experiment: Experiment, ids: Tensor, step: int, learned: TimeState | None = None) -> Tensor:
    """Timesteps of a whole batch, int64 [B].

    Some distributions need the whole batch, and a `learned` one depends on earlier losses.
    """
    spec = experiment.spec
    u = ops.uniform(ids, stream(Purpose.TIME, step), spec.seed)
    return spec.time.draw(u, experiment.table) if learned is None else learned.draw(u)


def draw_step(experiment: Experiment, ids: Tensor, step: int, learned: TimeState | None = None) -> Draws:
    """All random choices of a training step for the images `ids`, int64 [B] on the CPU."""
    seed = experiment.spec.seed
    return Draws(
        timesteps(experiment, ids, step, learned),
        Noise(seed, stream(Purpose.NOISE, step), ids),
        labels_with_dropout(experiment, ids, step),
        estimate_first=experiment.spec.model.self_conditioned and estimates_first(seed, step),
    )


def estimates_first(seed: int, step: int) -> bool:
    """Whether a step of a self-conditioned network estimates x_0 first: half of the steps do."""
    u = ops.uniform(torch.zeros(1, dtype=torch.int64), stream(Purpose.SELF_CONDITION, step), seed)
    return float(u) < 0.5


def step_loss(
    experiment: Experiment, network: Network, batch: Batch, weighting: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """(objective, loss) of each image, [b] each, without the importance of its timestep.

    They differ only if the weighting is learned: with its u, the loss is loss/exp(u) and the objective
    loss/exp(u) + u (Karras et al. 2024, arXiv:2312.02696).
    """
    loss = batch_loss(experiment, network, batch)
    if weighting is None:
        return loss, loss
    u = weighting(experiment.coefficients.log_snr[batch.t])
    # loss/exp(u) + u
    loss = loss * torch.exp(-u)
    return loss + u, loss


def batch_loss(experiment: Experiment, network: Network, batch: Batch) -> Tensor:
    """The weighted loss of each image, [b]."""
    return loss_of(experiment, predict(experiment, network, batch))


def loss_of(experiment: Experiment, predicted: Predicted) -> Tensor:
    """The weighted loss of each image for the network's prediction, [b].

    If the network learns the variance, L_vlb is added; its gradient does not reach the mean
    (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 16).
    """
    c, loss, batch, t = experiment.coefficients, experiment.spec.loss, predicted.batch, predicted.batch.t
    simple = weighted_loss(
        c, predicted.output, batch.x_start, t, predicted.noise, Norm(loss.norm, loss.delta)
    )
    if c.posterior is None or predicted.v is None:
        return simple
    # L_simple + variance_weight·L_vlb
    return simple + loss.variance_weight * experiment.table.timesteps * bound_terms(predicted, c.posterior)


def zero_output_loss(experiment: Experiment) -> Tensor:
    """An upper bound of the expected loss of an output of 0 at each index, float64 [T] on the CPU.

    The bound holds because pixels are in [−1, 1], ε has variance 1, and each norm is concave in the squared
    error. It is infinite for a learned variance, whose L_vlb has no bound.
    """
    c, loss = experiment.coefficients, experiment.spec.loss
    # weight·norm(√(target_x² + target_eps²))
    root = (c.target_x.double().square() + c.target_eps.double().square()).sqrt().cpu()
    if c.posterior is not None:
        return torch.full_like(root, torch.inf)
    if loss.norm == "huber":
        return c.weight.double().cpu() * F.huber_loss(
            root, torch.zeros_like(root), reduction="none", delta=loss.delta
        )
    return c.weight.double().cpu() * (root if loss.norm == "l1" else root.square())
