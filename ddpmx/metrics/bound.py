"""The variational bound of single images, for the metrics `bpd` and `bound_gap`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from .. import ops
from ..data import Images
from ..errors import SpecError
from ..images import to_model
from ..ops import Noise, Purpose, stream
from ..samplers.ddpm import DDPM
from ..spec.schema import Spec
from ..theory.variance import Variance, prior_terms
from ..training.batch import Batch
from ..training.experiment import Experiment
from ..training.predicted import bound_terms, predict
from .base import Metric
from .chain import Chain, ChainVariance, moments_of
from .subject import Subject


class Bounds(NamedTuple):
    """The bound of each image, and its first and last term: float64 [n] each, in bits per dimension."""

    total: Tensor
    prior: Tensor
    decoder: Tensor
    variance_error: float | None
    """Largest relative standard error of a step's variance; None if they are not estimated."""


class BoundMetric(Metric):
    """Base of the metrics of the variational bound, whose formula is `Bpd`'s.

    Each image is evaluated at the chain's last index and at `timesteps` of the others, one drawn from each of
    as many equal parts, so the sum over t is estimated without bias.
    """

    needs_images: ClassVar[bool] = False
    timesteps: int | None = Field(20, ge=1)
    """Number of timesteps after the first at which each image is evaluated, at most all; null: all."""
    variance: ChainVariance | None = None
    """Variance of p(x_s | x_t): posterior, beta or analytic as in the sampler ddpm, or learned by the
    network; null: that of the sampler in its chain, else learned if the network learns it, or posterior."""
    clip: bool = True
    """Bound the predicted x_0 to [−1, 1], as sampling does."""
    chain: Literal["all", "sampler"] = "all"
    """The chain that is measured: over all T timesteps, or over those of evaluate.sampler, which then has to
    be ddpm. The prior is that of its first timestep, and its last one decodes."""

    def check_spec(self, spec: Spec) -> None:
        sampler = spec.evaluate.sampler
        if self.chain == "sampler" and type(sampler) is not DDPM:
            hint = "evaluate.sampler: ddpm, or chain: all"
            name = sampler.component_name
            raise SpecError(f"evaluate.sampler should be ddpm, not {name}", field="chain", hint=hint)
        if self._variance(spec) == "learned" and not spec.model.learns_variance:
            hint = "model.learned_variance: true, or another variance"
            raise SpecError("the network learns no variance", field="variance", hint=hint)

    def preprocessing(self, experiment: Experiment) -> str:
        """How the bound is evaluated, for `Score.preprocessing`.

        The timesteps of a sampler's chain and its own variance are what is compared, and are left out.
        """
        chain = self.chain_of(experiment)
        total = len(chain.indices)
        evaluated = _draws(self.timesteps, total) + 1
        if self.chain == "all":
            return f"8-bit pixels, {chain.variance} variance, {evaluated} of {total} timesteps"
        own = "" if self.variance is None else f", {self.variance} variance"
        some = "" if evaluated == total else f", {evaluated} of its timesteps"
        return f"8-bit pixels, chain of the sampler{own}{some}"

    def chain_of(self, experiment: Experiment) -> Chain:
        """The chain that is measured. Raises SpecError as `check_spec` does."""
        self.check_spec(experiment.spec)
        variance = self._variance(experiment.spec)
        if self.chain == "all":
            return Chain(experiment, tuple(map(float, range(experiment.table.timesteps))), variance)
        plan = experiment.spec.evaluate.sampler.plan(experiment.table, experiment.prediction)
        return Chain(experiment, tuple(row.t for row in reversed(plan.rows)), variance)

    def _variance(self, spec: Spec) -> ChainVariance:
        if self.variance is not None:
            return self.variance
        sampler = spec.evaluate.sampler
        if self.chain == "sampler" and isinstance(sampler, DDPM):
            return "learned" if sampler.variance == "learned_range" else sampler.variance
        return "learned" if spec.model.learns_variance else "posterior"

    @torch.no_grad()
    def bounds(self, subject: Subject, images: Images, work: str) -> Bounds:
        """The bounds of real images, n ≥ 1, of which the i-th always has the same timesteps and noise.

        x_0 and all sums are float64. `work` is the name of the work, for `subject.progress`. Raises SpecError
        if the schedule has no such chain.
        """
        experiment, network = subject.experiment, subject.network
        assert experiment is not None  # given to metrics that need no images
        assert network is not None
        chain = self.chain_of(experiment)
        images = Images(images.pixels, images.labels if experiment.classes else None)
        draws = _draws(self.timesteps, len(chain.indices))
        first = 0 if subject.measure_moments is not None else chain.passes()
        total = first + len(images) * (draws + 1)
        chain.posterior  # noqa: B018  (raises before any work)
        moments = moments_of(
            chain, subject, network, lambda done, of: subject.progress(work, first * done // of, total)
        )
        variances = chain.variances(moments)
        was_training = network.training
        network.eval()
        chunks: list[Tensor] = []
        for ids in torch.arange(len(images)).split(experiment.spec.evaluate.batch_size):
            done = first + int(ids[0]) * (draws + 1)

            def progress(k: int, done: int = done, size: int = len(ids)) -> None:
                subject.progress(work, done + k * size, total)

            evaluation = _Evaluation(chain, variances, network, draws, subject.seed)
            chunks.append(evaluation.bounds(images.take(ids), ids, self.clip, progress))
        network.train(was_training)
        bound, prior, decoder = torch.cat(chunks, dim=1)
        return Bounds(bound, prior, decoder, chain.variance_error(moments))


@dataclass(frozen=True)
class _Evaluation:
    """What the evaluations of all images have in common."""

    chain: Chain
    variances: Variance | Tensor
    network: nn.Module
    draws: int
    seed: int

    def bounds(self, part: Images, ids: Tensor, clip: bool, progress: Callable[[int], None]) -> Tensor:
        """The bound of images with these ids, its prior and its decoder: float64 [3, b]."""
        chain, draws = self.chain, self.draws
        last, x_start = len(chain.indices) - 1, to_model(part.pixels)
        middle, decoder = torch.zeros(2, len(ids), dtype=torch.float64)
        for k in range(draws + 1):
            progress(k)
            t = torch.zeros_like(ids)
            if k > 0:
                # one index in each of `draws` equal parts of the chain's 1…last
                u = ops.uniform(ids, stream(Purpose.BOUND_TIME, k), self.seed)
                t = 1 + ((k - 1 + u) / draws * last).long()
            batch = Batch(x_start, t, Noise(self.seed, stream(Purpose.BOUND, k), ids), part.labels)
            predicted = predict(chain.experiment, self.network, batch, chain.coefficients)
            bits = bound_terms(predicted, chain.posterior, self.variances, clip=clip)
            if k == 0:
                decoder = bits
            else:
                middle += bits * last / draws
        prior = prior_terms(x_start.double(), chain.table)
        return torch.stack((prior + middle + decoder, prior, decoder))


def first(images: Images, count: int | None) -> Images:
    """The first `count` images, or all if it is None or larger."""
    return Images(images.pixels[:count], None if images.labels is None else images.labels[:count])


def _draws(timesteps: int | None, total: int) -> int:
    """The number of timesteps after the first at which each image is evaluated."""
    return total - 1 if timesteps is None else min(timesteps, total - 1)
