"""Sample grids of several runs, small enough for one page, and aligned: equal cells have the same noise."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import SpecError
from ..files import open_regular
from ..pages.page import EmbeddedImage, evenly

ROOM = 1_800_000
"""Most characters that all grids on a page take."""
STOPS = 12
"""Most epochs of a run whose grids a page shows, in addition to the final grid."""
PAD = 2
"""White pixels between the tiles of `images.grid`."""
T = TypeVar("T")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Sheet:
    """A grid of images at their original size, without margins."""

    pixels: Pixels
    """uint8 [rows·size, columns·size, channels]."""
    size: int
    """Pixels per side of a cell."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Rows, columns, size of a cell, channels."""
        return (
            self.pixels.shape[0] // self.size,
            self.pixels.shape[1] // self.size,
            self.size,
            self.pixels.shape[2],
        )


@dataclass(frozen=True)
class Grid:
    """A run's samples at one time."""

    epoch: float | None
    """The epoch, with a fraction for a grid made within one; None for the final grid."""
    image: EmbeddedImage
    """The grid, embedded in the page."""


def read_sheet(path: Path, images: int) -> Sheet | None:
    """Read a PNG that `images.grid` or `images.class_grid` made of so many images.

    None if missing or incomplete.
    """
    try:
        with open_regular(path) as content, Image.open(content) as file:
            pixels = np.asarray(file.convert("L" if file.mode == "L" else "RGB"))
    except (OSError, SpecError, Image.DecompressionBombError):
        return None
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    pitch = _pitch(pixels, images)
    return None if pitch is None else _without_margins(pixels, pitch)


def _pitch(pixels: Pixels, images: int) -> int | None:
    """The tiles' distance in pixels, for which all margins are white; None if there is no such distance.

    If several fit, the one of a square grid is preferred.
    """
    height, width = (side - PAD for side in pixels.shape[:2])
    white = [(pixels == 255).all(axis=(axis, 2)) for axis in (1, 0)]

    def fits(pitch: int) -> bool:
        return all(bool(line[start::pitch].all()) for line in white for start in range(PAD))

    candidates = [
        pitch
        for pitch in range(PAD + 1, min(height, width) + 1)
        if height % pitch == width % pitch == 0 and fits(pitch)
    ]
    columns = min(images, math.ceil(math.sqrt(images)))
    return width // columns if width // columns in candidates else next(iter(candidates), None)


def _without_margins(pixels: Pixels, pitch: int) -> Sheet:
    """Cut off the margins, then undo the enlargement, which repeated each pixel; this loses nothing."""
    rows, columns, channels = pixels.shape[0] // pitch, pixels.shape[1] // pitch, pixels.shape[2]
    # [rows, pitch, columns, pitch, channels], then [rows, size, columns, size, channels]
    tiles = pixels[PAD:, PAD:].reshape(rows, pitch, columns, pitch, channels)[
        :, : pitch - PAD, :, : pitch - PAD
    ]
    size = pitch - PAD
    for scale in range(size, 0, -1):
        if size % scale == 0:
            small = tiles[:, ::scale, :, ::scale]
            if np.array_equal(small.repeat(scale, 1).repeat(scale, 3), tiles):
                size //= scale
                return Sheet(small.reshape(rows * size, columns * size, channels), size)
    raise AssertionError("a scale of 1 always fits")


def fitted(runs: Sequence[dict[float | None, Sheet]]) -> list[list[Grid]]:
    """Encode each run's grids within ROOM, by ascending epoch and the final one last.

    They are encoded without loss if they fit, else as lossy WebP, and for fewer epochs if that is needed.
    """
    stops = STOPS
    for lossless in (True, False):  # a run's last grid is taken as typical of its others
        size = sum(len(encode(sheet, "", lossless).uri) for run in runs for _, sheet in _thinned(run, 0)[-1:])
        if size * (stops + 1) <= ROOM:
            break
    else:
        stops = max(1, min(stops, ROOM // size - 1))
    encoded = [
        {epoch: encode(sheet, _label(epoch), lossless) for epoch, sheet in _thinned(run, stops)}
        for run in runs
    ]
    while stops > 1 and sum(len(image.uri) for run in encoded for image in run.values()) > ROOM:
        stops -= 1
        encoded = [dict(_thinned(run, stops)) for run in encoded]
    return [[Grid(epoch, image) for epoch, image in run.items()] for run in encoded]


def _thinned(run: Mapping[float | None, T], stops: int) -> list[tuple[float | None, T]]:
    """At most `stops` epochs, including the first and the last, and the final grid if there is one."""
    epochs = sorted(epoch for epoch in run if epoch is not None)
    chosen = evenly(epochs, stops) if stops > 1 or None in run else epochs[-1:]
    return [(epoch, run[epoch]) for epoch in [*chosen, *([None] if None in run else [])]]


def _label(epoch: float | None) -> str:
    return "end" if epoch is None else label_of(epoch)


def label_of(epoch: float) -> str:
    """The label of an epoch on the page's slider."""
    return f"epoch {epoch:.7g}"


def encode(sheet: Sheet, label: str, lossless: bool) -> EmbeddedImage:
    """Embed a grid as lossy WebP, or if `lossless`, as the smaller one of WebP and PNG."""
    image = Image.fromarray(sheet.pixels[..., 0] if sheet.pixels.shape[2] == 1 else sheet.pixels)
    options = (
        [("webp", {"lossless": True}), ("png", {"optimize": True})]
        if lossless
        else [("webp", {"quality": 80})]
    )
    contents = []
    for kind, option in options:
        file = io.BytesIO()
        image.save(file, format=kind, **option)
        contents.append((file.getvalue(), kind))
    content, kind = min(contents, key=lambda pair: len(pair[0]))
    return EmbeddedImage(
        f"data:image/{kind};base64,{base64.b64encode(content).decode()}", image.width, image.height, label
    )
