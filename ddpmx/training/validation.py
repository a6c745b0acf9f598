"""The validation loss, in total and by timestep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import ops
from ..errors import SpecError
from ..images import to_model
from ..ops import Noise, Purpose, stream
from ..schedules import Table
from ..theory.variance import Posterior, posterior
from ..world import World
from .batch import Batch
from .events import Curves
from .experiment import Experiment
from .objective import loss_of
from .predicted import bound_terms, predict

BINS = 25
"""Most bins of the curves over timesteps."""


@dataclass(frozen=True)
class Validated:
    """Losses of the validation images, each at its own fixed timestep and noise: [n] on the CPU."""

    t: Tensor
    """Table indices, int64."""
    losses: Tensor
    """Losses weighted as in training, without the learned part of a weighting; float64."""
    bits: Tensor | None
    """Terms of the variational bound at t in bits per dimension (`bound_terms`), with x_0 clipped to [−1, 1];
    float64. None if the schedule has no such terms, or if they were not asked for."""
    levels: Tensor
    """The images' ids in order of their noise levels: one in each of n equal parts of the timesteps."""

    @property
    def loss(self) -> float:
        """The mean loss."""
        return float(self.losses.mean())

    def by_timestep(self, experiment: Experiment) -> Curves:
        """Means over at most 25 equal ranges of timesteps that have images, as lists from low noise to high.

        `t` and `log_snr` are those of a range's middle, and `n` is its number of images. `share` is its part
        of the whole training loss, given how often training draws t. `bits` leaves out index 0, whose term is
        the decoder's. Entries without a value are None.
        """
        table = experiment.table
        count = min(BINS, table.timesteps)
        bins = self.t * count // table.timesteps  # [n]
        density = experiment.spec.time.probabilities(table) * experiment.spec.time.importance(table)  # [T]
        training_loss = self.losses * density[self.t]  # [n]
        curves = Curves(t=[], log_snr=[], n=[], loss=[], share=[], bits=[])
        for index in bins.unique().tolist():
            inside = bins == index
            middle = (index + 0.5) * table.timesteps / count - 0.5
            curves["t"].append(middle)
            curves["log_snr"].append(_log_snr(table, middle))
            curves["n"].append(int(inside.sum()))
            curves["loss"].append(float(self.losses[inside].mean()))
            curves["share"].append(float(training_loss[inside].sum() / training_loss.sum()))
            not_decoder = inside & (self.t > 0)
            curves["bits"].append(
                None
                if self.bits is None or not bool(not_decoder.any())
                else float(self.bits[not_decoder].mean())
            )
        return curves


@torch.no_grad()
def validate(experiment: Experiment, network: nn.Module, world: World, bits: bool = True) -> Validated:
    """The losses of all validation images, and with `bits` the terms of the variational bound.

    The timesteps are stratified, so that the images cover all of them evenly; `evaluate.seed` fixes timesteps
    and noise. The learned part of a weighting is left out: it could lower the loss without better images, and
    runs would not be comparable.
    """
    images, seed, device = experiment.data.validation, experiment.spec.evaluate.seed, experiment.device
    labels = images.labels if experiment.classes else None
    ids = torch.arange(len(images))
    jitter = ops.uniform(ids, stream(Purpose.VALIDATION_TIME, 0), seed)
    strata = ops.bits(ids, stream(Purpose.VALIDATION_TIME, 1), seed).argsort(stable=True)
    t = ((strata + jitter) / len(ids) * experiment.table.timesteps).long()
    q = _posterior(experiment.table) if bits else None
    was_training = network.training
    network.eval()
    dtype = torch.float32 if device.type == "mps" else torch.float64
    values = torch.zeros(2, len(ids), dtype=dtype, device=device)  # losses, terms of the bound
    for part in world.part(ids).split(experiment.spec.train.batch_size):
        if len(part) == 0:
            continue
        keys = part.to(device)
        batch = Batch(
            to_model(images.pixels[part].to(device)),
            t[part].to(device),
            Noise(seed, stream(Purpose.VALIDATION_NOISE, 0), keys),
            None if labels is None else labels[part].to(device),
        )
        predicted = predict(experiment, network, batch)
        values[0, keys] = loss_of(experiment, predicted).to(dtype)
        if q is not None:
            values[1, keys] = bound_terms(predicted, q, clip=True).to(values)
    network.train(was_training)
    losses, terms = world.sum_(values).cpu().double()
    return Validated(t, losses, None if q is None else terms, strata.argsort())


def _posterior(table: Table) -> Posterior | None:
    """The posterior of a table; None if it has none at some index."""
    try:
        return posterior(table)
    except SpecError:
        return None


def _log_snr(table: Table, t: float) -> float | None:
    """log-SNR at a fractional index t; None if it is infinite at one of the nearest indices.

    JSON has no infinity.
    """
    neighbours = table.log_snr[[math.floor(t), math.ceil(t)]]
    if not bool(neighbours.isfinite().all()):
        return None
    return float(table.log_snr_at(torch.tensor([t], dtype=torch.float64)))
