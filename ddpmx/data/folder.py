"""A folder of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from ..errors import SpecError
from ..progress import track
from ..registry import DATASETS
from .base import Images
from .decode import Channels, Decoder
from .stored import Decoded, Stored

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SPLITS = {"train": ("train", "training"), "validation": ("validation", "valid", "val"), "test": ("test", "testing")}


@DATASETS.register("image_folder")
class ImageFolder(Stored):
    """A folder of image files; its sub-folders are splits (train, validation, test) or classes.

    With a folder `train`, splits are the folders `train`, `validation` and `test`; otherwise all images train. Where
    every image of a split lies in one of two or more sub-folders, these are the classes.
    """

    path: str
    """The folder, relative to the spec."""
    size: int | None = Field(default=None, ge=8, le=4096)
    """Resize the shorter side to this many pixels and cut out the centre; null: the images are square and of one size already."""
    channels: Channels = None
    """1: grey, 3: RGB, null: grey if all images are"""
    flip: bool = False
    """Mirror half of the images left to right in training."""

    def identity(self, source: Path | None) -> list[Any]:
        """Path, size and time of change of each file: reading a large folder whole would take as long as decoding it."""
        files = [file for group in self._files(source).values() for file in group]
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return [self.size, self.channels, stats]

    def decode(self, source: Path | None) -> Decoded:
        """All images. Raises SpecError that names the file that can't be used."""
        groups = self._files(source)
        folders = self._folders(source)
        names = [_classes(folders[split], files) for split, files in groups.items()]
        classes = names[0]
        if any(other is None or classes is None or not set(other) <= set(classes) for other in names[1:]):
            classes = None
        decoder = Decoder(self.size, self.channels)
        for split, files in groups.items():
            for file in track(files, f"Decoding the {split} images"):
                decoder.add(split, str(file), file)
        splits = {}
        for split, pixels in decoder.stacks().items():
            labels = None
            if classes is not None:
                labels = torch.tensor([classes.index(file.relative_to(folders[split]).parts[0]) for file in groups[split]])
            splits[split] = Images(pixels, labels)
        return Decoded(splits, classes)

    def _folders(self, source: Path | None) -> dict[str, Path]:
        """Where each split's images are."""
        assert source is not None  # `path` is required
        if not source.is_dir():
            raise SpecError(f"should be a folder of images: {source}", field="path")
        found = {split: source / name for split, names in SPLITS.items() for name in names if (source / name).is_dir()}
        return found if "train" in found else {"train": source}

    def _files(self, source: Path | None) -> dict[str, list[Path]]:
        """The image files of each split, sorted; hidden ones are left out."""
        groups = {}
        for split, folder in self._folders(source).items():
            files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
            groups[split] = sorted(files)
            if not groups[split]:
                raise SpecError(f"no image files in {folder}", field="path", hint="known suffixes: " + ", ".join(SUFFIXES))
        return groups


def _classes(folder: Path, files: list[Path]) -> tuple[str, ...] | None:
    """The sub-folders, when every file is in one of at least two."""
    parents = {file.relative_to(folder).parts[0] if file.parent != folder else "" for file in files}
    return tuple(sorted(parents)) if "" not in parents and len(parents) > 1 else None
