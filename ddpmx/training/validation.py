"""The validation loss, and how it lies over the timesteps."""

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


@dataclass(frozen=True)
class Validated:
    """Each validation image at its own fixed timestep and noise: on the CPU, [n] each."""

    t: Tensor
    losses: Tensor
    """float64, weighted as in training, but for what the weighting learned."""
    bits: Tensor | None
    """float64, the bound's term at t in bits a dimension (`bound_terms`), x_0 within [−1, 1]; None where the schedule has no such terms
    or they were not asked for."""

    @property
    def loss(self) -> float:
        """The mean."""
        return float(self.losses.mean())

    def by_timestep(self, experiment: Experiment) -> Curves:
        """The mean in each of at most 25 equal stretches of the timesteps that have images, as lists, from low noise to high.

        `t` and `log_snr` of its middle, `n` images, `loss`, `share` of all of the training loss (with how often training draws t),
        and `bits` without index 0, whose term is the decoder's; null where there is none.
        """
        table = experiment.table
        count = min(BINS, table.timesteps)
        place = self.t * count // table.timesteps
        drawn = experiment.spec.time.probabilities(table) * experiment.spec.time.importance(table)
        trained = self.losses * drawn[self.t]
        curves = Curves(t=[], log_snr=[], n=[], loss=[], share=[], bits=[])
        for index in place.unique().tolist():
            inside = place == index
            middle = (index + 0.5) * table.timesteps / count - 0.5
            curves["t"].append(middle)
            curves["log_snr"].append(_log_snr(table, middle))
            curves["n"].append(int(inside.sum()))
            curves["loss"].append(float(self.losses[inside].mean()))
            curves["share"].append(float(trained[inside].sum() / trained.sum()))
            later = inside & (self.t > 0)
            curves["bits"].append(
                None if self.bits is None or not bool(later.any()) else float(self.bits[later].mean())
            )
        return curves


@torch.no_grad()
def validate(experiment: Experiment, network: nn.Module, world: World, bits: bool = True) -> Validated:
    """The losses of all validation images, with `bits` the bound's terms too.

    The timesteps are stratified, so that the set covers all of them evenly; `evaluate.seed` fixes both. What a weighting has
    learned is left out: it could lower the loss with no better image, and no two runs would be comparable.
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
    found = torch.zeros(
        2, len(ids), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device
    )
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
        found[0, keys] = loss_of(experiment, predicted).to(found.dtype)
        if q is not None:
            found[1, keys] = bound_terms(predicted, q, clip=True).to(found)
    network.train(was_training)
    losses, terms = world.sum_(found).cpu().double()
    return Validated(t, losses, None if q is None else terms)


def _posterior(table: Table) -> Posterior | None:
    """None for a table that has none at some index."""
    try:
        return posterior(table)
    except SpecError:
        return None


def _log_snr(table: Table, t: float) -> float | None:
    """log-SNR at index t; None where it is infinite, or t lies beside an index where it is: JSON has no infinity."""
    beside = table.log_snr[[math.floor(t), math.ceil(t)]]
    return (
        float(table.log_snr_at(torch.tensor([t], dtype=torch.float64)))
        if bool(beside.isfinite().all())
        else None
    )
