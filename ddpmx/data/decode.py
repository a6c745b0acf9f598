"""Encoded images (PNG, JPEG, …) to one block of bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import SpecError

Pixels = NDArray[np.uint8]  # [h, w] grey or [h, w, 3] RGB
GREY = ("1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N", "I")


def decode(encoded: bytes | Path, where: str, size: int | None = None, channels: Literal[1, 3] | None = None) -> Pixels:
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
    except Exception as error:  # PIL has no common base for what a damaged or hostile file makes it raise
        raise SpecError(f"{where} cannot be read as an image: {error}") from error
    if size is not None:
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    elif picture.width != picture.height:
        shape = f"{picture.width}×{picture.height}"
        raise SpecError(f"{where} is not square ({shape})", field="size", hint="`size: N` resizes the shorter side to N and crops")
    return np.asarray(picture)


def decode_all(images: Iterable[tuple[str, bytes | Path]], size: int | None = None, channels: Literal[1, 3] | None = None) -> list[Pixels]:
    """`decode` of each (where, encoded). Raises SpecError that names both at the first one of another size."""
    decoded: list[Pixels] = []
    first = ""
    for where, encoded in images:
        pixels = decode(encoded, where, size, channels)
        if decoded and pixels.shape[:2] != decoded[0].shape[:2]:
            sizes = f"{decoded[0].shape[1]}×{decoded[0].shape[0]} ({first}) and {pixels.shape[1]}×{pixels.shape[0]} ({where})"
            raise SpecError(f"images of mixed sizes: {sizes}", field="size", hint="`size: N` resizes and crops them all")
        first = first or where
        decoded.append(pixels)
    return decoded


def stack(decoded: list[Pixels], channels: int) -> Tensor:
    """Images of one size as uint8 [n, channels, size, size]; grey ones become RGB where `channels` is 3."""
    size = len(decoded[0]) if decoded else 0
    block = np.empty((len(decoded), channels, size, size), np.uint8)
    for k, pixels in enumerate(decoded):
        block[k] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(block)


def _plain(image: Image.Image, channels: Literal[1, 3] | None) -> Image.Image:
    """Mode L or RGB, upright."""
    if image.format in ("JPEG", "MPO", "TIFF", "WEBP"):
        image = ImageOps.exif_transpose(image)
    grey = image.mode in GREY if channels is None else channels == 1
    if image.mode.startswith("I"):  # 16 bits a pixel, which PIL would clip to 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")
