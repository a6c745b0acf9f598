"""The embedded data set: 1,797 handwritten digits of 8×8 pixels that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..components.registry import DATASETS
from .base import Data, Dataset, Images, shuffled


@DATASETS.register("digits", paper="Alpaydin, Kaynak 1998, UCI Optical Recognition of Handwritten Digits")
class Digits(Dataset):
    """8×8 grey scans of handwritten digits, from scikit-learn; no network needed.

    1,437 images train, 180 validate and 180 test, always the same ones, with as many of each digit as its share.
    Grey levels 0…16 are scaled to 0…255.
    """

    def load(self, root: Path) -> Data:
        """All 1,797 images; `root` is not used."""
        from sklearn.datasets import load_digits

        scans = load_digits()
        pixels = (
            torch.from_numpy(scans.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
        )  # [1797, 1, 8, 8]
        labels = torch.from_numpy(scans.target).to(torch.int64)
        everything = Images(pixels, labels)
        parts = _interleaved(labels).split([180, 180, len(labels) - 360])
        validation, test, train = (everything.take(part.sort().values) for part in parts)
        if self.limit is not None:
            train = train.take(shuffled(len(train), self.limit).sort().values)
        return Data("digits", train, validation, test, tuple(map(str, range(10))))


def _interleaved(labels: Tensor) -> Tensor:
    """A fixed order of the images in which each piece has all classes in proportion: the k-th of n stands at (k + ½)/n."""
    order = shuffled(len(labels))
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        of_label = order[labels[order] == label]
        place[of_label] = (torch.arange(len(of_label), dtype=torch.float64) + 0.5) / len(of_label)
    return place.argsort(stable=True)
