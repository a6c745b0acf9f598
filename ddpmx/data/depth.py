"""Pixels of more than 8 bits: which of them say what white is, and the 8 highest bits of those."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # TIFF 6.0's tags
UNSIGNED = (1, 4)  # 4: not said, which TIFF 6.0 wants to be read as unsigned
WHITE_IS_ZERO = 0


class NoRange(ValueError):
    """The values are numbers of which the file does not say which one is white."""


def check_range(image: Image.Image) -> None:
    """Raises NoRange unless the format says which value is white: as it does for integers without a sign, of up to 16 bits."""
    formats = _tiff(image, SAMPLE_FORMAT)
    if image.mode == "F" or 3 in formats:
        raise NoRange("its pixels are floating-point numbers")
    if not set(formats) <= set(UNSIGNED):
        raise NoRange("its pixels are numbers with a sign")
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # PIL scales those to 16 bits
        raise NoRange("its pixels are integers of 32 bits")


def eight_bits(image: Image.Image) -> tuple[Image.Image, int]:
    """A grey image of 9 to 16 bits as one of 8, and its largest value, scaled to 16 bits."""
    values: NDArray[np.int64] = np.asarray(image).astype(np.int64)
    bits = max(_tiff(image, BITS), default=16)
    values = values << (16 - bits)
    if WHITE_IS_ZERO in _tiff(image, PHOTOMETRIC):  # PIL inverts those of 8 bits only
        values = 65535 - values
    pixels = (values >> 8).astype(np.uint8)
    if isinstance(image.info.get("transparency"), int):
        pixels[np.asarray(image) == image.info["transparency"]] = 255
    return Image.fromarray(pixels), int(values.max())


def _tiff(image: Image.Image, tag: int) -> tuple[int, ...]:
    """A tag's values; none where the file has no such tag, or is no TIFF."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return ()
    found = image.tag_v2.get(tag, ())
    return found if isinstance(found, tuple) else (found,)
