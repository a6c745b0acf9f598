"""Images outside of the network: bytes from and to [−1, 1], grids to look at, PNG and GIF files."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional as F

from .errors import SpecError

MIN_TILE = 48
"""Pixels on a side below which the tiles of a grid are enlarged."""
MOST_ROWS, MOST_COLUMNS = 64, 16
"""Most rows and columns of a picture."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Rows of images that belong together, such as samples beside their nearest training images.

    Raises SpecError if the parts do not fit together.
    """

    images: Tensor
    """uint8 [rows, columns, c, h, w], with c 1 (grey) or 3 (RGB)."""
    columns: tuple[str, ...]
    """What each column shows, in a few words."""
    labels: tuple[str, ...]
    """A short text for each row, shown below it."""
    caption: str
    """A sentence or two on what is shown."""

    def __post_init__(self) -> None:
        shape = list(self.images.shape)
        if self.images.dtype != torch.uint8 or len(shape) != 5 or shape[2] not in (1, 3):
            actual = f"{self.images.dtype} {shape}"
            raise SpecError(f"a picture's images should be uint8 [rows, columns, 1 or 3, h, w], not {actual}")
        if not (0 < shape[0] <= MOST_ROWS and 0 < shape[1] <= MOST_COLUMNS):
            limits = f"1 to {MOST_ROWS} rows and 1 to {MOST_COLUMNS} columns"
            raise SpecError(f"a picture should have {limits}, not {shape[0]} and {shape[1]}")
        if len(self.labels) != shape[0] or len(self.columns) != shape[1]:
            raise SpecError(
                f"a picture of {shape[0]} rows and {shape[1]} columns should have a label for each row and a"
                f" name for each column, not {len(self.labels)} and {len(self.columns)}"
            )


def to_model(pixels: Tensor) -> Tensor:
    """Convert uint8 in 0…255 to float32 in [−1, 1]: x = pixels/127.5 − 1."""
    return pixels.to(torch.float32, copy=True).div_(127.5).sub_(1.0)


def to_pixels(x: Tensor) -> Tensor:
    """Convert [−1, 1] to uint8, the inverse of `to_model`: values are clamped to [−1, 1], then rounded."""
    return ((x.to(torch.float32).clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)


def grid(pixels: Tensor, columns: int | None = None, pad: int = 2, scale: int | None = None) -> Image.Image:
    """A grid of images, uint8 [n, c, h, w] with 1 or 3 channels, row by row on white, `pad` pixels apart.

    If `columns` is None, the grid is as square as n allows. Tiles are enlarged `scale` times without
    smoothing; if `scale` is None, so that they have at least 48 pixels on each side. Raises SpecError for
    other channels or no images.
    """
    n, c, h, w = pixels.shape
    if c not in (1, 3):
        raise SpecError(f"images to show should have 1 (grey) or 3 (RGB) channels, not {c}")
    if n == 0:
        raise SpecError("there are no images to show")
    scale = scale or max(1, math.ceil(MIN_TILE / min(h, w)))
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    tiles = pixels.cpu().repeat_interleave(scale, 2).repeat_interleave(scale, 3)  # [n, c, h·scale, w·scale]
    tall, wide = tiles.shape[2] + pad, tiles.shape[3] + pad
    canvas = torch.full((c, rows * tall + pad, columns * wide + pad), 255, dtype=torch.uint8)
    for k, tile in enumerate(tiles):
        top, left = pad + k // columns * tall, pad + k % columns * wide
        canvas[:, top : top + tile.shape[1], left : left + tile.shape[2]] = tile
    return to_pil(canvas)


def class_grid(pixels: Tensor, labels: Tensor | None) -> Image.Image:
    """A grid in which each class begins a row of its own. Equal `labels`, int64 [n], must be adjacent.

    Rows and columns are at most about twice as long as in a square grid, so that a large class takes several
    rows. With more classes than that, with one image of each class, or without labels, the result is that of
    `grid`.
    """
    square = math.ceil(math.sqrt(len(pixels)))
    counts = [] if labels is None else labels.unique_consecutive(return_counts=True)[1].tolist()
    most = max(counts, default=1)
    if most == 1 or not 1 < len(counts) <= 2 * square:
        return grid(pixels)
    columns = most if most <= 2 * square else math.ceil(most / math.ceil(most / square))
    rows = [F.pad(part, (0, 0) * 3 + (0, -len(part) % columns), value=255) for part in pixels.split(counts)]
    return grid(torch.cat(rows), columns)


def save_png(pixels: Tensor, path: Path) -> None:
    """Save one image, uint8 [c, h, w] with 1 or 3 channels, in a file that `is_sample` recognises."""
    note = PngInfo()
    note.add_text("Software", "ddpmx")
    to_pil(pixels.cpu()).save(path, format="PNG", pnginfo=note)


def is_sample(path: Path) -> bool:
    """Whether `save_png` wrote the file and it has a name like 000000.png, as in a folder of samples."""
    if not re.fullmatch(r"\d{6,}\.png", path.name) or path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"tEXtSoftware\0ddpmx" in file.read(100)


def gif(frames: Sequence[Image.Image], milliseconds: int = 60, hold: int = 1500) -> bytes:
    """A GIF in an endless loop, with each frame shown for `milliseconds` and the last one for `hold`."""
    durations = [milliseconds] * (len(frames) - 1) + [hold]
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()


def png(image: Image.Image, text: PngInfo | None = None) -> bytes:
    """An image as a PNG file, with optional text chunks."""
    file = io.BytesIO()
    image.save(file, format="PNG", pnginfo=text)
    return file.getvalue()


def to_pil(image: Tensor) -> Image.Image:
    """Convert uint8 [c, h, w] on the CPU to a grey or RGB image."""
    return Image.fromarray(
        image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).contiguous().numpy()
    )
