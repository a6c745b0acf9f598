"""The embedded data set: 1,797 handwritten digits of 8×8 pixels that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import torch

from ..registry import DATASETS
from .base import Data, Dataset, Images, shuffled


@DATASETS.register("digits", paper="Alpaydin, Kaynak 1998, UCI Optical Recognition of Handwritten Digits")
class Digits(Dataset):
    """8×8 grey scans of handwritten digits, from scikit-learn; no network needed.

    Of each digit, 80 % of the images train, 10 % validate and 10 % test: always the same ones. Grey levels 0…16 are
    scaled to 0…255.
    """

    def load(self, root: Path) -> Data:
        """All 1,797 images; `root` is not used."""
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]

        scans = load_digits()
        pixels = torch.from_numpy(scans.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)  # [1797, 1, 8, 8]
        everything = Images(pixels, torch.from_numpy(scans.target).to(torch.int64))
        order = shuffled(len(pixels))
        parts: tuple[list[torch.Tensor], ...] = ([], [], [])
        for digit in range(10):
            of_digit = order[everything.labels[order] == digit]
            tenth = round(len(of_digit) / 10)
            for part, index in zip(parts, of_digit.split([len(of_digit) - 2 * tenth, tenth, tenth]), strict=True):
                part.append(index)
        train, validation, test = (everything.take(torch.cat(part).sort().values) for part in parts)
        if self.limit is not None:
            train = train.take(shuffled(len(train), self.limit).sort().values)
        return Data("digits", train, validation, test, tuple(map(str, range(10))))
