"""Reads a user's own images and masks in the shape of a network's images."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..data.decode import decode
from ..data.scan import suffixes
from ..errors import SpecError
from ..files import kind, why
from ..images import to_model
from ..text import shortened


def read_images(source: Path, count: int, shape: tuple[int, int, int]) -> Tensor:
    """Read `count` images from a file, or from the files of a folder in turn.

    They are resized and cropped to `shape` [c, h, w]. Returns [count, c, h, w] in [−1, 1]. Raises SpecError
    that names what cannot be read.
    """
    files = [source]
    if kind(source) == "folder":
        try:
            entries = [file for file in source.iterdir() if not file.name.startswith(".")]
        except OSError as error:
            raise SpecError(f"the folder {source} cannot be read: {why(error)}", field="--image") from None
        files = sorted(file for file in entries if file.suffix.lower() in suffixes() and kind(file) == "file")
        if not files:
            raise SpecError(f"no image files in {source}", field="--image")
    pixels = torch.stack([_read(file, shape, "--image") for file in files[:count]])
    return to_model(pixels)[torch.arange(count) % len(pixels)]


def read_mask(file: Path, shape: tuple[int, int, int]) -> Tensor:
    """Read a mask, float32 [1, h, w]: 1 where the file is brighter than mid-grey, else 0."""
    return (_read(file, (1, *shape[1:]), "--mask") > 127).float()


def _read(file: Path, shape: tuple[int, int, int], option: str) -> Tensor:
    """Pixels of an image file, uint8 [c, h, w]."""
    if (file_kind := kind(file)) != "file":
        name = shortened(str(file))
        problem = f"no such file: {name}" if file_kind == "missing" else f"{name} is not a file"
        raise SpecError(problem, field=option)
    channels, size, _ = shape
    if channels not in (1, 3):
        raise SpecError(
            f"image files have 1 or 3 channels, but the network's images have {channels}", field=option
        )
    try:
        pixels = torch.tensor(decode(file, str(file), size, 1 if channels == 1 else 3))
    except SpecError as error:
        raise SpecError(error.message, field=option) from None
    return pixels.view(size, size, channels).permute(2, 0, 1)
