"""A user's own pictures, in the shape that a network draws."""

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


def read_pictures(source: Path, count: int, shape: tuple[int, int, int]) -> Tensor:
    """`count` images [count, c, h, w] in [−1, 1] from a file, or from the files of a folder in turn, resized and cropped to `shape`.

    Raises SpecError that names what cannot be read.
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
    pictures = torch.stack([_read(file, shape, "--image") for file in files[:count]])
    return to_model(pictures)[torch.arange(count) % len(pictures)]


def read_mask(file: Path, shape: tuple[int, int, int]) -> Tensor:
    """float32 [1, h, w]: 1 where the picture is brighter than mid-grey, else 0."""
    return (_read(file, (1, *shape[1:]), "--mask") > 127).float()


def _read(file: Path, shape: tuple[int, int, int], option: str) -> Tensor:
    if (what := kind(file)) != "file":
        problem = (
            f"no such file: {shortened(str(file))}"
            if what == "missing"
            else f"{shortened(str(file))} is not a file"
        )
        raise SpecError(problem, field=option)
    channels, size, _ = shape
    if channels not in (1, 3):
        raise SpecError(f"a picture has 1 or 3 channels, and the network draws {channels}", field=option)
    try:
        pixels = torch.tensor(decode(file, str(file), size, 1 if channels == 1 else 3))
    except SpecError as error:
        raise SpecError(error.message, field=option) from None
    return pixels.view(size, size, channels).permute(2, 0, 1)
