"""The `steps` command: the best timesteps for few steps of `ddpm` with a run's weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from .. import ops
from ..errors import SpecError
from ..metrics.bound import first
from ..metrics.chain import Chain
from ..metrics.subject import Progress
from ..samplers import Moments
from ..samplers.ddpm import DDPM
from ..spec.loading import Override
from ..terminal.console import Bar
from ..theory.timestep_search import Floats, Pairs, best_chains
from ..theory.variance import posterior
from ..training.experiment import Experiment
from .chain_errors import ChainErrors
from .moments import Network
from .opening import RunData, open_run

FixedVariance = Literal["posterior", "beta", "analytic"]
VARIANCES: tuple[FixedVariance, ...] = get_args(FixedVariance)
GRIDS = ("trailing", "karras")
"""Grids that the found timesteps are compared with."""
WORK = "errors by timestep"
DECODERS = (-7.0, -5.0, -3.5, -2.5, -1.6, -1.0, -0.6, -0.35, -0.2, -0.1, -0.05, -0.02, 0.0)
"""Logarithms of the decoder's variance by sigma² at which the search evaluates it."""


@dataclass(frozen=True)
class StepsRequest:
    """What to search for."""

    counts: tuple[int, ...]
    """Numbers of network evaluations, at least 2 each."""
    images: int = 100
    """Most validation images that the bound is measured on."""
    candidates: int = 1000
    """Most timesteps to choose from, evenly spaced."""
    variance: FixedVariance = "posterior"
    """The sampler's variance."""
    clip: bool = True
    """Whether the predicted x_0 is bounded to [−1, 1]."""


@dataclass(frozen=True)
class Bits:
    """Bits per dimension, or a difference of them: a mean over images with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Tensor) -> Bits:
        """Of the bits of each image, float64 [n]."""
        mean, half = float(values.mean()), 1.96 * float(values.std()) / math.sqrt(len(values))
        return cls(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Steps:
    """The best timesteps with a number of evaluations, and other ones of the same number."""

    timesteps: tuple[int, ...]
    """Table indices, descending."""
    bits: Bits
    """The bound of their chain."""
    others: Mapping[str, Bits | str]
    """By grid: how many more bits its chain has, paired by image; or why it has none."""
    images: int
    """Number of images."""


def best_steps(
    run: Path,
    request: StepsRequest,
    *,
    device: torch.device,
    overrides: Iterable[Override] = (),
    weights: str | None = None,
) -> list[Steps]:
    """The best timesteps for each number of evaluations, by the bound on validation images.

    Raises SpecError for a number of steps that the schedule does not have, and if it has no such chain.
    """
    opened = open_run(run, overrides, device, weights, RunData.SAME)
    experiment = opened.experiment
    posterior(experiment.table)  # raises SpecError before any work
    candidates = _candidates(experiment, request)
    images = first(experiment.data.validation, request.images)
    if len(images) < 2:
        raise SpecError("needs at least 2 validation images", field="dataset")
    experiment.network.eval()
    with ops.use_backend(experiment.spec.backend), Bar() as bar:
        network = Network(experiment, experiment.network, opened.folder.path, progress=bar.show)
        search = _Search(request, network, ChainErrors(experiment, experiment.network, images, request.clip))
        return search.run(candidates, bar.show)


def _candidates(experiment: Experiment, request: StepsRequest) -> list[float]:
    """The indices to choose from, ascending, from 0 to T − 1."""
    total = experiment.table.timesteps
    count = min(request.candidates, total)
    most = max(request.counts)
    if min(request.counts) < 2:
        raise SpecError("a chain needs at least 2 evaluations", field="-n")
    if most > count:
        limit = "the schedule's" if count == total else "--candidates:"
        raise SpecError(f"should be at most {limit} {count} timesteps, not {most}", field="-n")
    return np.unique(np.linspace(0, total - 1, count).round()).tolist()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Search:
    """The search with one network and one set of images."""

    request: StepsRequest
    network: Network
    errors: ChainErrors

    def run(self, candidates: list[float], progress: Progress) -> list[Steps]:
        """The best chains over the candidates, measured beside those of the grids."""
        table = self._chain(candidates).table
        sigma = table.sigma.numpy()
        pairs = Pairs.of(table.signal.numpy(), sigma)
        left = self._x0_variances(candidates)
        decoders: list[Floats] = []

        def each(number: int, x0: Tensor) -> None:
            decoders.append(self._decoder(x0, sigma[number], pairs.posterior[:, number]))
            progress(WORK, number + 1, len(candidates))

        progress(WORK, 0, len(candidates))
        self.errors.measure(candidates, each)
        error = np.array([self.errors.mean_error(t) for t in candidates])
        variances = {"posterior": pairs.posterior, "beta": pairs.upper, "analytic": pairs.analytic(left)}
        terms = pairs.bits(variances[self.request.variance], error)
        chains = best_chains(terms, np.stack(decoders, axis=1), max(self.request.counts))
        return [
            self._measured(tuple(int(candidates[at]) for at in chains[count].positions))
            for count in self.request.counts
        ]

    def _chain(self, indices: Sequence[float]) -> Chain:
        """The chain of indices, ascending."""
        return Chain(self.errors.experiment, tuple(map(float, indices)), self.request.variance)

    def _moments(self, indices: Sequence[float]) -> Moments | None:
        return self.network.moments(indices) if self.request.variance == "analytic" else None

    def _x0_variances(self, candidates: Sequence[float]) -> Floats:
        """E Var(x_0 | x_t) at each candidate for the variance `analytic`; 0 for the others."""
        moments = self._moments(candidates)
        if moments is None:
            return np.zeros(len(candidates))
        return np.array([moments.x0_variance(here) for here in self._chain(candidates).points])

    def _decoder(self, x0: Tensor, sigma: float, posterior: Floats) -> Floats:
        """The decoder's term at an index s, if the step before comes from each t, [K]; NaN for t ≤ s.

        `x0` is predicted at s, and `posterior` the variance of the step from t to s, on which the decoder's
        depends: its term is interpolated between some of them.
        """
        if self.request.variance == "beta":
            return np.full(len(posterior), self.errors.decoder_bits(x0, np.array([2 * np.log(sigma)]))[0])
        grid = 2 * np.log(sigma) + np.array(DECODERS)
        # NaN stays NaN
        return np.interp(np.log(posterior), grid, self.errors.decoder_bits(x0, grid))

    def _measured(self, timesteps: tuple[int, ...]) -> Steps:
        """The timesteps with their bound, and how many more bits the grids have with as many evaluations."""
        bits = self._bits(timesteps)
        others: dict[str, Bits | str] = {}
        for grid in GRIDS:
            try:
                others[grid] = Bits.of(self._bits(self._grid(grid, len(timesteps))) - bits)
            except SpecError as error:  # a grid that this schedule does not have
                others[grid] = error.message
        return Steps(timesteps, Bits.of(bits), others, len(bits))

    def _grid(self, grid: str, steps: int) -> list[float]:
        experiment = self.errors.experiment
        plan = DDPM(grid=grid, steps=steps).plan(experiment.table, experiment.prediction)
        return [row.t for row in plan]

    def _bits(self, timesteps: Sequence[float]) -> Tensor:
        """The bound of each image for descending timesteps, float64 [n]."""
        indices = timesteps[::-1]
        return self.errors.bits(self._chain(indices), self._moments(indices))
