"""Encoded images (PNG, JPEG, …) to one block of bytes."""

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
from .depth import NoRange, check_range, eight_bits

Pixels = NDArray[np.uint8]  # [h, w] grey or [h, w, 3] RGB
Channels = Literal[1, 3] | None  # grey, RGB, or as the images are
MAX_SIDE = 4096
"""Of images that no `size` makes smaller: a picture of 100 kB can have 80 million pixels."""
GREY = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I")
ORIENTATION = 0x0112
DARK = 1 << 12
"""16-bit images whose values are all below it were probably taken with 12 bits or fewer, and come out nearly black."""


@dataclass
class Oddities:
    """What the images of a set had that is not taken, or that is taken as the format says but may be meant otherwise."""

    animated: int = 0
    first_animated: str = ""
    deep: int = 0
    brightest: int = 0

    def notes(self) -> list[str]:
        """What to tell the user."""
        found = []
        if self.animated:
            found.append(
                f"images of several frames: {self.animated:,}; of each the first frame is taken (one is {self.first_animated})"
            )
        if self.deep and self.brightest < DARK:
            found.append(
                f"the {self.deep:,} images of 16 bits are nearly black: their largest value is {self.brightest:,} of 65,535"
            )
        return found


def decode(
    encoded: bytes | Path,
    where: str,
    size: int | None = None,
    channels: Channels = None,
    oddities: Oddities | None = None,
) -> Pixels:
    """One image as bytes: grey stays grey and all else becomes RGB, unless `channels` (1 or 3) says which.

    `size`: the shorter side is resized to it, then the centre is cut out. Transparent pixels lie on white; a camera's
    orientation mark is obeyed, whatever the format. Of 16 bits the higher 8 are taken, of several frames the first; `oddities` counts
    both. Raises SpecError that names `where` when the image can't be read, is not square, or holds numbers of which the format does
    not say which one is white: floating-point numbers, or integers of 32 bits or with a sign.
    """
    oddities = Oddities() if oddities is None else oddities
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
                if image.format != "MPO" and getattr(
                    image, "is_animated", False
                ):  # an MPO's others are previews
                    oddities.animated += 1
                    oddities.first_animated = oddities.first_animated or where
                image.load()
                check_range(image)
                picture = _plain(image, channels, oddities)
                if size is not None:
                    picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
                pixels = np.asarray(picture)
    except NoRange as error:
        hint = "make them 8-bit or 16-bit integers"
        raise SpecError(
            f"{where} cannot be taken: {error}, and the file does not say which one is white", hint=hint
        ) from None
    except Exception as error:  # PIL has no common base for what a damaged or hostile file makes it raise
        raise SpecError(f"{where} cannot be read as an image: {error}") from error
    if pixels.shape[0] != pixels.shape[1]:
        shape = f"{pixels.shape[1]}×{pixels.shape[0]}"
        raise SpecError(
            f"{where} is not square ({shape})",
            field="size",
            hint="`size: N` resizes the shorter side to N and crops",
        )
    if len(pixels) > MAX_SIDE:
        raise SpecError(
            f"{where} has {len(pixels):,} pixels on a side, more than {MAX_SIDE:,}",
            field="size",
            hint="`size: N` resizes it",
        )
    return pixels


class Decoder:
    """Decodes the images of a data set, split by split, and holds them all to one size and number of channels."""

    def __init__(self, size: int | None = None, channels: Channels = None) -> None:
        self._size, self._channels = size, channels
        self._decoded: dict[str, list[Pixels]] = {}
        self._first: tuple[tuple[int, ...], str] | None = None
        self._oddities = Oddities()
        self._bytes, self._memory = 0, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def add(self, split: str, where: str, encoded: bytes | Path) -> None:
        """One more image. Raises SpecError that names `where`, and the first image too when that has another size."""
        pixels = decode(encoded, where, self._size, self._channels, self._oddities)
        shape = pixels.shape[:2]
        first, first_where = self._first = self._first or (shape, where)
        if shape != first:
            sizes = f"{first[1]}×{first[0]} ({first_where}) and {shape[1]}×{shape[0]} ({where})"
            raise SpecError(
                f"images of mixed sizes: {sizes}", field="size", hint="`size: N` resizes and crops them all"
            )
        self._bytes += pixels.nbytes
        if 2 * self._bytes > self._memory:  # they are copied once, into one block
            raise SpecError(
                f"the images up to {where} fill half of this machine's memory",
                field="size",
                hint="`size: N` makes them smaller",
            )
        self._decoded.setdefault(split, []).append(pixels)

    def stacks(self) -> dict[str, Tensor]:
        """Each split as uint8 [n, c, size, size]; grey images become RGB when one of the set is. Notes what was odd about them."""
        for note in self._oddities.notes():
            say(f"note: {note}")
        channels = 3 if any(pixels.ndim == 3 for split in self._decoded.values() for pixels in split) else 1
        return {split: _stack(decoded, channels) for split, decoded in self._decoded.items()}


def _stack(decoded: list[Pixels], channels: int) -> Tensor:
    block = np.empty((len(decoded), channels, *decoded[0].shape[:2]), np.uint8)
    for k, pixels in enumerate(decoded):
        block[k] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(block)


def _plain(image: Image.Image, channels: Channels, oddities: Oddities) -> Image.Image:
    """Mode L or RGB, upright."""
    grey = image.mode in GREY if channels is None else channels == 1
    exif = image.getexif()
    if image.mode.startswith("I"):  # PIL would clip to 255
        image, brightest = eight_bits(image)
        oddities.deep += 1
        oddities.brightest = max(oddities.brightest, brightest)
    if exif.get(ORIENTATION, 1) != 1:
        image.getexif()[ORIENTATION] = exif[ORIENTATION]
        image = ImageOps.exif_transpose(image)
    if image.mode == "La":
        image = image.convert("LA")  # PIL's only way on from there
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if grey else "RGB"
    return image if image.mode == mode else image.convert(mode)
