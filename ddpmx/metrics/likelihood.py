"""The likelihood of single images by the probability-flow ODE, for the metrics `nll` and `nll_uniform`."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from ..data import Data, Images
from ..images import to_model
from ..ops import Noise, Purpose, stream
from ..sampling.density import Denoise, Probes, log_density
from ..sampling.flow import flow
from ..spec.schema import Spec
from ..training.batch import Batch
from ..training.experiment import Experiment
from .base import Metric, Reference, reference_images
from .bound import first
from .per_image import mean_over_images
from .score import Score
from .subject import Subject


class Point(NamedTuple):
    """Where the flow starts for each image, and what its density leaves out."""

    x: Tensor
    """States at index 0, float64 [b, c, h, w]."""
    nats: Tensor
    """Added to −log p(x), float64 [b]."""


class LikelihoodMetric(Metric):
    """Base of the metrics that evaluate the density of the probability-flow ODE at index 0."""

    needs_images: ClassVar[bool] = False
    purpose: ClassVar[Purpose]
    """The noise from which a point is made."""
    steps: int = Field(32, ge=2, le=100_000)
    """About how many steps the flow is integrated in, with 5 network evaluations each. As a measure of the
    error, it is integrated again in half as many."""
    probes: int | None = Field(None, ge=1, le=10_000)
    """Random vectors that estimate the trace of the network's Jacobian, each with a gradient; null: none for
    images of at most 64 values, whose trace is exact, with a gradient per value; else 1."""
    reference: Reference = None
    """Split of the real images; null: the test split if there is one, else the training images."""
    images: int | None = Field(1000, ge=2)
    """Number of images, taken from the start of the split; null: all."""

    def check(self, data: Data) -> None:
        reference_images(data, self.reference)

    def check_spec(self, spec: Spec) -> None:
        flow(spec.schedule.table(), spec.prediction, self.steps)

    @abstractmethod
    def point(self, experiment: Experiment, network: nn.Module, batch: Batch) -> Point:
        """The points of a batch, whose noise is of the metric's purpose."""

    @abstractmethod
    def preprocessing(self, experiment: Experiment) -> str:
        """How pixels become points, for `Score.preprocessing`."""

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{name: bits per dimension}`.

        Raises SpecError if the schedule has a single index, or one without noise, or if the prediction does
        not give x_0 at each index.
        """
        experiment = subject.experiment
        assert experiment is not None  # given to metrics that need no images
        self.check_spec(experiment.spec)
        real = first(reference_images(subject.data, self.reference), self.images)
        fine, coarse = self._nats(subject, real)
        per_bit = math.log(2) * real.pixels[0].numel()
        # without signs, so that no errors cancel by chance
        error = float((fine - coarse).abs().mean()) / per_bit
        score = mean_over_images(
            self,
            subject,
            fine / per_bit,
            self.preprocessing(experiment),
            widened=(error, f", widened by {error:.2g} for the integration's error"),
            facts={"sigma[0]": float(f"{float(experiment.table.sigma[0]):.4g}")},
        )
        return {self.component_name: score}

    @torch.no_grad()
    def _nats(self, subject: Subject, images: Images) -> tuple[Tensor, Tensor]:
        """−log p of each image in nats, float64 [n] each: from fine steps, and from coarse ones."""
        experiment, network, seed = subject.experiment, subject.network, subject.seed
        assert experiment is not None
        assert network is not None
        steps = flow(experiment.table, experiment.prediction, self.steps)
        parts = torch.arange(len(images)).split(experiment.spec.evaluate.batch_size)
        chunks = []
        with _frozen(network):
            for done, ids in enumerate(parts):

                def progress(part: int, total: int, done: int = done) -> None:
                    subject.progress("likelihood by the flow", done * total + part, len(parts) * total)

                part = images.take(ids)
                labels = part.labels if experiment.classes else None
                noise = Noise(seed, stream(self.purpose, 0), ids)
                batch = Batch(to_model(part.pixels), torch.zeros_like(ids), noise, labels)
                x, nats = self.point(experiment, network, batch)
                density = log_density(
                    _denoiser(experiment, network, labels), steps, x, Probes(self.probes, seed, ids), progress
                )
                chunks.append(torch.stack((nats - density.log_p, nats - density.coarse)))  # [2, batch]
        fine, coarse = torch.cat(chunks, dim=1)
        return fine, coarse


def _denoiser(experiment: Experiment, network: nn.Module, labels: Tensor | None) -> Denoise:
    """The network for float64 states on the CPU, without guidance, and with zeros as the estimate of x_0."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        output = experiment.output(network, x.float().to(experiment.device), t, labels)
        return output.to(x.device).to(x.dtype)  # device first: MPS has no float64

    return denoise


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients of the parameters; both are put back afterwards."""
    was_training, learned = network.training, [p for p in network.parameters() if p.requires_grad]
    network.eval()
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        network.train(was_training)
        for parameter in learned:
            parameter.requires_grad_(True)
