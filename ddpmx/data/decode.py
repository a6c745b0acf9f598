"""Encoded images (PNG, JPEG, …) to one block of bytes."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import SpecError

Pixels = NDArray[np.uint8]  # [h, w] grey or [h, w, 3] RGB
Channels = Literal[1, 3] | None  # grey, RGB, or as the images are
MAX_SIDE = 4096
"""Of images that no `size` makes smaller: a picture of 100 kB can have 80 million pixels."""
GREY = ("1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N", "I")


def decode(encoded: bytes | Path, where: str, size: int | None = None, channels: Channels = None) -> Pixels:
    """One image as bytes: grey stays grey and all else becomes RGB, unless `channels` (1 or 3) says which.

    `size`: the shorter side is resized to it, then the centre is cut out. Transparent pixels lie on white; a camera's
    orientation mark is obeyed. Raises SpecError that names `where` when the image can't be read or is not square.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
                image.load()
                picture = _plain(image, channels)
                if size is not None:
                    picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
                pixels = np.asarray(picture)
    except Exception as error:  # PIL has no common base for what a damaged or hostile file makes it raise
        raise SpecError(f"{where} cannot be read as an image: {error}") from error
    if pixels.shape[0] != pixels.shape[1]:
        shape = f"{pixels.shape[1]}×{pixels.shape[0]}"
        raise SpecError(f"{where} is not square ({shape})", field="size", hint="`size: N` resizes the shorter side to N and crops")
    if len(pixels) > MAX_SIDE:
        raise SpecError(f"{where} has {len(pixels):,} pixels on a side, more than {MAX_SIDE:,}", field="size", hint="`size: N` resizes it")
    return pixels


class Decoder:
    """Decodes the images of a data set, split by split, and holds them all to one size and number of channels."""

    def __init__(self, size: int | None = None, channels: Channels = None) -> None:
        self._size, self._channels = size, channels
        self._decoded: dict[str, list[Pixels]] = {}
        self._first: tuple[tuple[int, ...], str] | None = None
        self._bytes, self._memory = 0, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def add(self, split: str, where: str, encoded: bytes | Path) -> None:
        """One more image. Raises SpecError that names `where`, and the first image too when that has another size."""
        pixels = decode(encoded, where, self._size, self._channels)
        shape = pixels.shape[:2]
        first, first_where = self._first = self._first or (shape, where)
        if shape != first:
            sizes = f"{first[1]}×{first[0]} ({first_where}) and {shape[1]}×{shape[0]} ({where})"
            raise SpecError(f"images of mixed sizes: {sizes}", field="size", hint="`size: N` resizes and crops them all")
        self._bytes += pixels.nbytes
        if 2 * self._bytes > self._memory:  # they are copied once, into one block
            raise SpecError(
                f"the images up to {where} fill half of this machine's memory", field="size", hint="`size: N` makes them smaller"
            )
        self._decoded.setdefault(split, []).append(pixels)

    def stacks(self) -> dict[str, Tensor]:
        """Each split as uint8 [n, c, size, size]; grey images become RGB when one of the set is."""
        channels = 3 if any(pixels.ndim == 3 for split in self._decoded.values() for pixels in split) else 1
        return {split: _stack(decoded, channels) for split, decoded in self._decoded.items()}


def _stack(decoded: list[Pixels], channels: int) -> Tensor:
    block = np.empty((len(decoded), channels, *decoded[0].shape[:2]), np.uint8)
    for k, pixels in enumerate(decoded):
        block[k] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(block)


def _plain(image: Image.Image, channels: Channels) -> Image.Image:
    """Mode L or RGB, upright."""
    if image.format in ("JPEG", "MPO", "TIFF", "WEBP"):
        image = ImageOps.exif_transpose(image)
    grey = image.mode in GREY if channels is None else channels == 1
    if image.mode.startswith("I"):  # 16 bits a pixel, which PIL would clip to 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if grey else "RGB"
    return image if image.mode == mode else image.convert(mode)
