"""A data set in memory: images as bytes, divided into splits, with a fingerprint of their content."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
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

MAX_NAMES, MAX_NAME_LENGTH = 10, 40
"""How many classes the summary names, and characters of each name."""
_SPLIT_SEED = 20260101  # a constant, so that the validation images never depend on a spec's `seed`


@dataclass(frozen=True, eq=False)
class Images:
    """Images and their labels."""

    pixels: Tensor
    """uint8 [n, c, h, w], with c 1 (grey) or 3 (RGB)."""
    labels: Tensor | None = None
    """int64 [n], or None without labels."""

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, index: Tensor) -> Images:
        """The images at `index`, int64 [k], in that order."""
        return Images(self.pixels[index], None if self.labels is None else self.labels[index])

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Images:
        """The images with changed pixels, uint8 [n, c, h, w] to [n, c, h', w'], and the same labels."""
        return Images(change(self.pixels), self.labels)


class Undecoded(Images):
    """Images of which only number, shape and labels are known; the pixels are zeros that use no memory."""

    @classmethod
    def of(cls, count: int, shape: Sequence[int], labels: Tensor | None) -> Undecoded:
        """`count` images of `shape` [c, h, w]."""
        return cls(torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(count, *shape), labels)

    def take(self, index: Tensor) -> Undecoded:
        return Undecoded.of(
            len(index), self.pixels.shape[1:], None if self.labels is None else self.labels[index]
        )

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Undecoded:
        return Undecoded.of(len(self), change(self.pixels[:1]).shape[1:], self.labels)


@dataclass(frozen=True, eq=False)
class Data:
    """A loaded data set. Each split has at least one image, and all images are square and of one size.

    Raises SpecError for splits that do not fit together.
    """

    name: str
    """The data set's name, for messages."""
    train: Images
    """The training images."""
    validation: Images
    """The validation images, which are never used for training."""
    test: Images | None = None
    """The test images; None if the data set has no test split."""
    classes: tuple[str, ...] | None = None
    """`classes[k]` is the name of label k; None without labels."""
    flip: bool = False
    """Whether training may mirror images left to right."""
    fingerprint: str = ""
    """A hash of all pixels and labels; computed here if empty."""
    left_out: tuple[str, ...] = ()
    """What was found but is not used, and why: one phrase each."""

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
                actual = f"{pixels.dtype} {list(pixels.shape)}"
                raise SpecError(
                    f"the {split} images of '{self.name}' should be uint8 [n, 1 or 3, size, size],"
                    f" not {actual}"
                )
            if len(images) == 0:
                raise SpecError(f"the {split} split of '{self.name}' has no images")
            if pixels.shape[1:] != shape:
                raise SpecError(
                    f"the {split} images of '{self.name}' are {list(pixels.shape[1:])}, but the training"
                    f" images are {list(shape)}; all splits must have one shape"
                )
            class_count = len(self.classes or ())
            if labels is not None and not (
                labels.shape == (len(images),) and labels.min() >= 0 and labels.max() < class_count
            ):
                raise SpecError(
                    f"the labels of the {split} split of '{self.name}' should be {len(images)} indices from"
                    f" 0 to {class_count - 1}, one for each image"
                    if class_count
                    else f"the {split} split of '{self.name}' has labels, but the data set names no classes"
                )
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", self._fingerprint())

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.train.pixels.shape[1]

    @property
    def size(self) -> int:
        """Side length in pixels."""
        return self.train.pixels.shape[2]

    @property
    def counts(self) -> dict[str, int]:
        """Number of images in each existing split."""
        return {split: len(images) for split, images in self.splits()}

    def summary(self) -> str:
        """One line: number of images in each split, their shape, the classes, and what was left out."""
        counts = ", ".join(f"{count:,} {split}" for split, count in self.counts.items() if split != "train")
        kind = "grey" if self.channels == 1 else "RGB"
        text = f"{self.name}: {self.counts['train']:,} training images of {self.size}×{self.size}, {kind}"
        text += f"; {counts}"
        if self.classes:
            names = [shortened(name, MAX_NAME_LENGTH) for name in self.classes[:MAX_NAMES]]
            others = [f"{len(self.classes) - MAX_NAMES:,} others"] if len(self.classes) > MAX_NAMES else []
            text += (
                f"; {len(self.classes):,} class{'es' * (len(self.classes) > 1)} ({', '.join(names + others)})"
            )
        return text + (f"; left out: {', '.join(self.left_out)}" if self.left_out else "")

    def splits(self) -> Iterator[tuple[str, Images]]:
        """Name and images of each existing split, in the order train, validation, test."""
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
    """Base of all data sets: override `load`."""

    contract: ClassVar[Contract] = {"load": lambda _, arguments, value: instance(value, Data)}

    limit: int | None = Field(default=None, ge=2)
    """Train with at most this many images: a fixed random choice, which a larger limit only adds to."""

    @abstractmethod
    def load(self, root: Path) -> Data:
        """Read the data set. Relative paths start from `root`, the spec's folder.

        Raises SpecError if the data is missing or cannot be used.
        """

    def look(self, root: Path) -> Data:
        """A quick preview of what `load` returns.

        For a large data set, the images are `Undecoded`, but of the right number and shape. Raises SpecError
        as `load` does, for any problem that such a preview can find.
        """
        return self.load(root)


def shuffled(n: int, limit: int | None = None) -> Tensor:
    """The first `limit` entries of a fixed permutation of 0…n−1, int64."""
    return torch.from_numpy(np.random.default_rng(_SPLIT_SEED).permutation(n)[:limit])
