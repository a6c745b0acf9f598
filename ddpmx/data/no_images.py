"""The data set without images, for a network that was imported without its data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from ..components.registry import DATASETS
from ..errors import SpecError
from .base import Data, Dataset, Images

MAX_CHANNELS, MAX_SIZE = 4, 4096


@DATASETS.register("no_images")
class NoImages(Dataset):
    """Only the shape of the images: enough to sample from an imported network, not to train it."""

    channels: int = Field(3, ge=1, le=MAX_CHANNELS)
    """1: grey, 3: RGB."""
    size: int = Field(ge=1, le=MAX_SIZE)
    """Side length in pixels."""

    def load(self, root: Path) -> Data:
        return Shape(self.channels, self.size)


class Shape(Data):
    """A data set of which only the shape and perhaps the classes are known; `train` raises SpecError."""

    def __init__(
        self, channels: int, size: int, name: str = "no_images", classes: tuple[str, ...] | None = None
    ) -> None:
        for key, value in {
            "name": name,
            "test": None,
            "classes": classes,
            "flip": False,
            "fingerprint": "",
            "left_out": (),
            "shape": (channels, size),
        }.items():
            object.__setattr__(self, key, value)

    shape: tuple[int, int]
    """Channels and side length."""

    @property
    def train(self) -> Images:
        raise SpecError(
            "this run has no images: its network was imported without its data set, which is needed here",
            hint="name the data set: for example -s dataset=null -s dataset=cifar10",
        )

    validation = train

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        return self.shape[1]

    def summary(self) -> str:
        return f"{self.name}: no images, {self.channels}×{self.size}×{self.size}"

    def splits(self) -> Iterator[tuple[str, Images]]:
        return iter(())
