"""Decoding of image files (PNG, JPEG, …) to blocks of bytes."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import SpecError
from ..terminal.console import say
from .depth import UnknownRange, check_range, eight_bits

Pixels = NDArray[np.uint8]
"""One image: [h, w] grey or [h, w, 3] RGB."""
Channels = Literal[1, 3] | None
"""1: grey, 3: RGB, None: whatever the images are."""
MAX_SIDE = 4096
"""Largest side of images that `size` does not resize: a file of 100 kB can hold 80 million pixels."""
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I")
ORIENTATION = 0x0112
"""EXIF tag of the orientation."""
DARK = 1 << 12
"""If all values of 16-bit images are below this, they were probably recorded with 12 bits or fewer."""


@dataclass
class Oddities:
    """Properties of a data set's images that may surprise the user: extra frames, and dark 16-bit images."""

    animated: int = 0
    """Number of images with several frames."""
    first_animated: str = ""
    """Name of the first of them."""
    deep: int = 0
    """Number of images with 9 to 16 bits a value."""
    brightest: int = 0
    """Their largest value, on a scale of 16 bits."""

    def notes(self) -> list[str]:
        """Notes for the user."""
        notes = []
        if self.animated:
            notes.append(
                f"images with several frames: {self.animated:,}; only the first frame of each is used"
                f" (one of them is {self.first_animated})"
            )
        if self.deep and self.brightest < DARK:
            notes.append(
                f"the {self.deep:,} 16-bit images are nearly black: their largest value is {self.brightest:,}"
                " of 65,535; if they were recorded with fewer bits, scale them to the full range"
            )
        return notes


def decode(
    encoded: bytes | Path,
    where: str,
    size: int | None = None,
    channels: Channels = None,
    oddities: Oddities | None = None,
) -> Pixels:
    """Decode one image. Grey images stay grey and all others become RGB, unless `channels` (1 or 3) decides.

    With `size`, the shorter side is resized to it and the centre is cropped. Transparent pixels are blended
    with white, and EXIF orientation is applied in every format. Only the high 8 bits of 16 and the first of
    several frames are used; `oddities` counts both. Raises SpecError, which names `where`, if the image
    cannot be read, is not square, or has pixels without a defined white: floating-point numbers, 32-bit or
    signed integers.
    """
    oddities = Oddities() if oddities is None else oddities
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
                # The other frames of an MPO file are previews.
                if image.format != "MPO" and getattr(image, "is_animated", False):
                    oddities.animated += 1
                    oddities.first_animated = oddities.first_animated or where
                image.load()
                check_range(image)
                plain = _plain(image, channels, oddities)
                if size is not None:
                    plain = ImageOps.fit(plain, (size, size), Image.Resampling.LANCZOS)
                pixels = np.asarray(plain)
    except UnknownRange as error:
        hint = "convert the image to 8-bit or 16-bit unsigned integers"
        raise SpecError(
            f"{where} cannot be used: {error}, and the file does not say which value is white", hint=hint
        ) from None
    except Exception as error:  # for damaged or hostile files, PIL raises types without a common base
        raise SpecError(f"{where} cannot be read as an image: {error}") from error
    if pixels.shape[0] != pixels.shape[1]:
        shape = f"{pixels.shape[1]}×{pixels.shape[0]}"
        raise SpecError(
            f"{where} is not square ({shape})",
            field="size",
            hint="`size: N` resizes the shorter side to N and crops the centre",
        )
    if len(pixels) > MAX_SIDE:
        raise SpecError(
            f"{where} is {len(pixels):,} pixels wide, more than the {MAX_SIDE:,} that are allowed",
            field="size",
            hint="`size: N` resizes the images",
        )
    return pixels


class Decoder:
    """Decodes the images of all splits of a data set, and requires one size of them all."""

    def __init__(self, size: int | None = None, channels: Channels = None) -> None:
        self._size, self._channels = size, channels
        self._decoded: dict[str, list[Pixels]] = {}
        self._first: tuple[tuple[int, ...], str] | None = None
        self._oddities = Oddities()
        self._bytes, self._memory = 0, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def add(self, split: str, where: str, encoded: bytes | Path) -> None:
        """Decode one more image. SpecErrors name `where`, and also the first image if the sizes differ."""
        pixels = decode(encoded, where, self._size, self._channels, self._oddities)
        shape = pixels.shape[:2]
        first, first_where = self._first = self._first or (shape, where)
        if shape != first:
            sizes = f"{first[1]}×{first[0]} ({first_where}) and {shape[1]}×{shape[0]} ({where})"
            raise SpecError(
                f"the images have different sizes: {sizes}",
                field="size",
                hint="`size: N` resizes and crops them all",
            )
        self._bytes += pixels.nbytes
        if 2 * self._bytes > self._memory:  # stacks() copies them once
            raise SpecError(
                f"the images up to {where} fill half of this machine's memory",
                field="size",
                hint="`size: N` resizes them; use a smaller N, or fewer images",
            )
        self._decoded.setdefault(split, []).append(pixels)

    def stacks(self) -> dict[str, Tensor]:
        """Each split, uint8 [n, c, size, size]. If any image is RGB, all become RGB. Prints the notes."""
        for note in self._oddities.notes():
            say(f"note: {note}")
        channels = 3 if any(pixels.ndim == 3 for split in self._decoded.values() for pixels in split) else 1
        return {split: _stack(decoded, channels) for split, decoded in self._decoded.items()}


def _stack(decoded: list[Pixels], channels: int) -> Tensor:
    """[h, w] or [h, w, 3] each -> uint8 [n, channels, h, w]."""
    block = np.empty((len(decoded), channels, *decoded[0].shape[:2]), np.uint8)
    for k, pixels in enumerate(decoded):
        block[k] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(block)


def _plain(image: Image.Image, channels: Channels, oddities: Oddities) -> Image.Image:
    """The image in mode L or RGB, upright."""
    grey = image.mode in GREY_MODES if channels is None else channels == 1
    exif = image.getexif()
    if image.mode.startswith("I"):  # PIL would clip its values to 255
        image, brightest = eight_bits(image)
        oddities.deep += 1
        oddities.brightest = max(oddities.brightest, brightest)
    if exif.get(ORIENTATION, 1) != 1:
        image.getexif()[ORIENTATION] = exif[ORIENTATION]
        image = ImageOps.exif_transpose(image)
    if image.mode == "La":
        image = image.convert("LA")  # the only conversion that PIL has for this mode
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if grey else "RGB"
    return image if image.mode == mode else image.convert(mode)
