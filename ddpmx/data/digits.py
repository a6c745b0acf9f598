"""The built-in data set: scikit-learn's 1,797 handwritten digits of 8×8 pixels."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..components.registry import DATASETS
from .averaging import Averaging
from .base import Data, Images, shuffled


@DATASETS.register("digits", paper="Alpaydin, Kaynak 1998, UCI Optical Recognition of Handwritten Digits")
class Digits(Averaging):
    """8×8 grey scans of handwritten digits, from scikit-learn; needs no network access.

    The split is fixed and stratified by digit: 1,437 training, 180 validation and 180 test images. Grey
    levels 0…16 are scaled to 0…255.
    """

    def load(self, root: Path) -> Data:
        """Load all 1,797 images; `root` is not used."""
        from sklearn.datasets import load_digits

        scans = load_digits()
        levels = torch.from_numpy(scans.images)  # [1797, 8, 8]
        pixels = levels.mul(255 / 16).round().to(torch.uint8).unsqueeze(1)  # [1797, 1, 8, 8]
        labels = torch.from_numpy(scans.target).to(torch.int64)
        images = self.averaged(Images(pixels, labels))
        parts = _interleaved(labels).split([180, 180, len(labels) - 360])
        validation, test, train = (images.take(part.sort().values) for part in parts)
        if self.limit is not None:
            train = train.take(shuffled(len(train), self.limit).sort().values)
        return Data("digits", train, validation, test, tuple(map(str, range(10))))


def _interleaved(labels: Tensor) -> Tensor:
    """A fixed order of the images, int64 [n], of which every section has all classes in proportion."""
    order = shuffled(len(labels))
    position = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        images = order[labels[order] == label]
        # The k-th of a class's m images gets the position (k + ½)/m, between 0 and 1.
        position[images] = (torch.arange(len(images), dtype=torch.float64) + 0.5) / len(images)
    return position.argsort(stable=True)
