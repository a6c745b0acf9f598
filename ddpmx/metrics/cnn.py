"""Fréchet distance and inception score in the eyes of a classifier of the data set's own classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..data import Data, Images
from ..errors import SpecError
from ..registry import METRICS
from .base import Metric
from .classifier import FEATURES, classifier, training_labels

BATCH = 500


@METRICS.register("fd_cnn", paper="Heusel et al. 2017, arXiv:1706.08500")
class FdCnn(Metric):
    """Fréchet distance to real images in the features of a small CNN trained on the data set; lower is better.

    |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) over 128 features, by torchmetrics. Comparable only within a data set, and at
    equal numbers of images: few of them bias it upwards.
    """

    reference: Literal["test", "train"] = "test"
    """The real images to compare with."""

    def check(self, data: Data) -> None:
        training_labels(data)
        self._real(data)

    def _real(self, data: Data) -> Images:
        real = data.test if self.reference == "test" else data.train
        if real is None:
            raise SpecError(f"'{data.name}' has no test split", field="reference", hint="`reference: train`")
        if len(real) < 2:
            raise SpecError(f"the {self.reference} split of '{data.name}' has a single image", field="reference")
        return real

    def compute(self, images: Tensor, data: Data) -> dict[str, float]:
        """`{"fd_cnn": distance}`, from 2 images on."""
        from torchmetrics.image.fid import FrechetInceptionDistance

        _check(images, data)
        real = self._real(data)
        distance = FrechetInceptionDistance(_Eye(classifier(data).network.features))
        for part in real.pixels.split(BATCH):
            distance.update(part, real=True)
        for part in images.cpu().split(BATCH):
            distance.update(part, real=False)
        return {"fd_cnn": float(distance.compute())}


@METRICS.register("is_cnn", paper="Salimans et al. 2016, arXiv:1606.03498")
class IsCnn(Metric):
    """Inception score by a small CNN trained on the data set instead of Inception; higher is better.

    exp(mean KL(p(y|x) ‖ p(y))), between 1 and the number of classes, by torchmetrics.
    """

    splits: int = Field(default=1, ge=1)
    """Take the score of so many parts, and of these the mean."""

    def check(self, data: Data) -> None:
        training_labels(data)

    def compute(self, images: Tensor, data: Data) -> dict[str, float]:
        """`{"is_cnn": score}`, from 2 images on."""
        from torchmetrics.image.inception import InceptionScore

        _check(images, data)
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.filterwarnings("ignore", "Metric `InceptionScore` will save all extracted features", UserWarning)
            warnings.filterwarnings("ignore", r"std\(\): degrees of freedom is <= 0", UserWarning)  # of one part's score
            torch.manual_seed(0)  # torchmetrics shuffles the images
            score = InceptionScore(_Eye(classifier(data).network), splits=self.splits)
            for part in images.cpu().split(BATCH):
                score.update(part)
            return {"is_cnn": float(score.compute()[0])}


class _Eye(nn.Module):
    """A network as torchmetrics wants it, float64 out."""

    num_features = FEATURES

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._network = network

    def forward(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return self._network(pixels).double()


def _check(images: Tensor, data: Data) -> None:
    wanted = [data.channels, data.size, data.size]
    if images.dtype != torch.uint8 or list(images.shape[1:]) != wanted:
        raise SpecError(f"the images of '{data.name}' are uint8 [n, *{wanted}], not {images.dtype} {list(images.shape)}")
    if len(images) < 2:
        raise SpecError(f"needs at least 2 generated images, not {len(images)}", hint="evaluate.samples")
