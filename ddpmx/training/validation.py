"""The validation loss, and how it lies over the timesteps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import ops
from ..errors import SpecError
from ..images import to_model
from ..ops import Purpose, stream
from ..schedules import Table
from ..theory.variance import Posterior, posterior, vlb_terms
from ..world import World
from .experiment import Experiment
from .objective import Predicted, loss_of, predict_at

BINS = 25


@dataclass(frozen=True)
class Validated:
    """Each validation image at its own fixed timestep and noise: on the CPU, [n] each."""

    t: Tensor
    losses: Tensor
    """float64, weighted as in training, but for what the weighting learned."""
    bits: Tensor | None
    """float64, the bound's term at t in bits a dimension (`vlb_terms`), x_0 within [−1, 1]; None where the schedule has no such terms
    or they were not asked for."""

    @property
    def loss(self) -> float:
        """The mean."""
        return float(self.losses.mean())

    def by_timestep(self, experiment: Experiment) -> dict[str, Any]:
        """The mean in each of at most 25 equal stretches of the timesteps that have images, as lists, from low noise to high.

        `t` and `log_snr` of its middle, `n` images, `loss`, `share` of all of the training loss (with how often training draws t),
        and `bits` without index 0, whose term is the decoder's; null where there is none.
        """
        table = experiment.table
        count = min(BINS, table.timesteps)
        place = self.t * count // table.timesteps
        drawn = experiment.spec.time.probabilities(table) * experiment.spec.time.importance(table)
        trained = self.losses * drawn[self.t]
        lists: dict[str, list[float | None]] = {key: [] for key in ("t", "log_snr", "n", "loss", "share", "bits")}
        for index in place.unique().tolist():
            inside = place == index
            middle = (index + 0.5) * table.timesteps / count - 0.5
            lists["t"].append(middle)
            lists["log_snr"].append(_finite(float(table.log_snr_at(torch.tensor([middle], dtype=torch.float64)))))
            lists["n"].append(int(inside.sum()))
            lists["loss"].append(float(self.losses[inside].mean()))
            lists["share"].append(float(trained[inside].sum() / trained.sum()))
            later = inside & (self.t > 0)
            lists["bits"].append(None if self.bits is None or not bool(later.any()) else float(self.bits[later].mean()))
        return lists


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
    noise, step = stream(Purpose.VALIDATION_NOISE, 0), _posterior(experiment.table) if bits else None
    was_training = network.training
    network.eval()
    found = torch.zeros(2, len(ids), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    for part in world.part(ids).split(experiment.spec.train.batch_size):
        if len(part) == 0:
            continue
        x_start, at, keys = to_model(images.pixels[part].to(device)), t[part].to(device), part.to(device)
        told = None if labels is None else labels[part]
        predicted = predict_at(experiment, network, x_start, at, keys, seed, noise, told)
        found[0, keys] = loss_of(experiment, predicted, x_start, at, keys, seed, noise).to(found.dtype)
        if step is not None:
            found[1, keys] = _bits(experiment, predicted, step, x_start, t[part]).to(found)
    network.train(was_training)
    losses, terms = world.sum_(found).cpu().double()
    return Validated(t, losses, None if step is None else terms)


def _posterior(table: Table) -> Posterior | None:
    """None for a table that has none at some index."""
    try:
        return posterior(table)
    except SpecError:
        return None


def _bits(experiment: Experiment, predicted: Predicted, step: Posterior, x_start: Tensor, t: Tensor) -> Tensor:
    """float64 [b] on the CPU, with the network's own variance where it learns one, else the posterior's."""
    x0 = predicted.x0(experiment.coefficients, t.to(x_start.device)).clamp(-1, 1).cpu().double()
    log_variance = step.log_lower[t].view(-1, 1, 1, 1) if predicted.v is None else step.log_variance(predicted.v.cpu().double(), t)
    return vlb_terms(x_start.cpu().double(), predicted.x_t.cpu().double(), x0, log_variance, t, step)


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if abs(value) < float("inf") else None
