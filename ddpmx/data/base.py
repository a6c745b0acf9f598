"""What a data set is: images as bytes in memory, in splits, with a fingerprint of their content."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import Component
from ..errors import SpecError
from ..plugins.expected import instance
from ..plugins.guard import Contract
from ..text import shortened

MOST_NAMED, MOST_SHOWN = 10, 40  # classes of which a line is told, and characters of each
_SPLIT_SEED = 20260101  # a constant: which images validate never depends on a spec's `seed`


@dataclass(frozen=True, eq=False)
class Images:
    """`pixels`: uint8 [n, c, h, w] with c 1 (grey) or 3 (RGB); `labels`: int64 [n], or None."""

    pixels: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, index: Tensor) -> Images:
        """The images at `index` (int64), in that order."""
        return Images(self.pixels[index], None if self.labels is None else self.labels[index])


class Unseen(Images):
    """Images of which number, shape and labels are known: their pixels are zeros that take no memory."""

    @classmethod
    def of(cls, count: int, shape: Sequence[int], labels: Tensor | None) -> Unseen:
        """`shape` is that of one image, [c, h, w]."""
        return cls(torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(count, *shape), labels)

    def take(self, index: Tensor) -> Unseen:
        return Unseen.of(
            len(index), self.pixels.shape[1:], None if self.labels is None else self.labels[index]
        )


@dataclass(frozen=True, eq=False)
class Data:
    """A loaded data set: at least one square image in each split that there is.

    `test` is None where the set has none. `classes[k]` names label k; None: no labels. `flip` says that training may
    mirror an image left to right. `fingerprint` is a hash of all pixels and labels, made here when empty. `left_out`
    says what was found and not taken, and why, a phrase each. Raises SpecError for splits that do not fit together.
    """

    name: str
    train: Images
    validation: Images
    test: Images | None = None
    classes: tuple[str, ...] | None = None
    flip: bool = False
    fingerprint: str = ""
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.train.pixels.shape[1:]
        for split, images in self.splits():
            pixels, labels = images.pixels, images.labels
            if (
                pixels.dtype != torch.uint8
                or pixels.dim() != 4
                or pixels.shape[1] not in (1, 3)
                or pixels.shape[2] != pixels.shape[3]
            ):
                found = f"{pixels.dtype} {list(pixels.shape)}"
                raise SpecError(
                    f"the {split} images of '{self.name}' should be uint8 [n, 1 or 3, size, size], not {found}"
                )
            if len(images) == 0:
                raise SpecError(f"the {split} split of '{self.name}' has no images")
            if pixels.shape[1:] != shape:
                raise SpecError(
                    f"the {split} images of '{self.name}' are {list(pixels.shape[1:])}, those that train {list(shape)}"
                )
            known = len(self.classes or ())
            if labels is not None and not (
                labels.shape == (len(images),) and labels.min() >= 0 and labels.max() < known
            ):
                raise SpecError(
                    f"the labels of the {split} split of '{self.name}' should be {len(images)} indices into its classes"
                )
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", self._fingerprint())

    @property
    def channels(self) -> int:
        """1 or 3."""
        return self.train.pixels.shape[1]

    @property
    def size(self) -> int:
        """Pixels on a side."""
        return self.train.pixels.shape[2]

    @property
    def counts(self) -> dict[str, int]:
        """Images in each split that there is."""
        return {split: len(images) for split, images in self.splits()}

    def describe(self) -> str:
        """What was found, on a line: images of each split, shape, classes, and what was left out."""
        counts = ", ".join(f"{count:,} {split}" for split, count in self.counts.items() if split != "train")
        kind = "grey" if self.channels == 1 else "RGB"
        text = f"{self.name}: {self.counts['train']:,} training images of {self.size}×{self.size}, {kind}; {counts}"
        if self.classes:
            shown = [shortened(name, MOST_SHOWN) for name in self.classes[:MOST_NAMED]]
            more = [f"{len(self.classes) - MOST_NAMED:,} others"] if len(self.classes) > MOST_NAMED else []
            text += (
                f"; {len(self.classes):,} class{'es' * (len(self.classes) > 1)} ({', '.join(shown + more)})"
            )
        return text + (f"; left out: {', '.join(self.left_out)}" if self.left_out else "")

    def splits(self) -> Iterator[tuple[str, Images]]:
        """Name and images of each split that there is: train, validation, test."""
        yield "train", self.train
        yield "validation", self.validation
        if self.test is not None:
            yield "test", self.test

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for split, images in self.splits():
            digest.update(f"{split} {list(images.pixels.shape)} {images.labels is not None}".encode())
            for tensor in (images.pixels, images.labels):
                if tensor is not None:
                    digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()[:32]


class Dataset(Component):
    """Base of the data sets."""

    contract: ClassVar[Contract] = {"load": lambda _, given, value: instance(value, Data)}

    limit: int | None = Field(default=None, ge=2)
    """Train with at most this many images: a fixed random choice, in which a smaller one is contained."""

    @abstractmethod
    def load(self, root: Path) -> Data:
        """Reads the data. `root` is the folder that relative paths start from, the spec's.

        Raises SpecError when they are not there or can't be used.
        """

    def look(self, root: Path) -> Data:
        """What `load` gives, as far as a short look can tell: of a large set, `Unseen` images of the right number and shape.

        Raises SpecError as `load` does, for what such a look finds.
        """
        return self.load(root)


def shuffled(n: int, limit: int | None = None) -> Tensor:
    """A fixed permutation of 0…n−1 (int64), of which `limit` keeps the start."""
    return torch.from_numpy(np.random.default_rng(_SPLIT_SEED).permutation(n)[:limit])
