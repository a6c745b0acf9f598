"""Pixels of more than 8 bits: whether their white is defined, and their 8 high bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
"""Tags of TIFF 6.0."""
UNSIGNED = (1, 4)
"""Sample formats that are unsigned integers. 4 means unspecified, which TIFF 6.0 reads as unsigned."""
FLOATING_POINT = 3
"""The sample format of floating-point numbers."""
WHITE_IS_ZERO = 0
"""The photometric interpretation in which 0 is white."""


class UnknownRange(ValueError):
    """The file does not say which pixel value is white."""


def check_range(image: Image.Image) -> None:
    """Raises UnknownRange unless white is defined, which it is for unsigned integers of up to 16 bits."""
    formats = _tiff(image, SAMPLE_FORMAT)
    if image.mode == "F" or FLOATING_POINT in formats:
        raise UnknownRange("its pixels are floating-point numbers")
    if not set(formats) <= set(UNSIGNED):
        raise UnknownRange("its pixels are signed integers")
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # of these, PIL scales the values to 16 bits
        raise UnknownRange("its pixels are 32-bit integers")


def eight_bits(image: Image.Image) -> tuple[Image.Image, int]:
    """Convert a grey image of 9 to 16 bits to 8 bits; also its largest value, scaled to 16 bits."""
    values: NDArray[np.int64] = np.asarray(image).astype(np.int64)
    bits = max(_tiff(image, BITS), default=16)
    values = values << (16 - bits)
    if WHITE_IS_ZERO in _tiff(image, PHOTOMETRIC):  # PIL inverts only 8-bit images itself
        values = 65535 - values
    pixels = (values >> 8).astype(np.uint8)
    if isinstance(image.info.get("transparency"), int):
        pixels[np.asarray(image) == image.info["transparency"]] = 255
    return Image.fromarray(pixels), int(values.max())


def _tiff(image: Image.Image, tag: int) -> tuple[int, ...]:
    """A tag's values; empty if the file does not have the tag or is not a TIFF."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return ()
    values = image.tag_v2.get(tag, ())
    return values if isinstance(values, tuple) else (values,)
