"""Images averaged down to fewer pixels, for data sets whose images all have one known size."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..errors import SpecError
from .base import Dataset, Images


class Averaging(Dataset):
    """A field for data sets that can be had at a fraction of their own size."""

    size: int | None = Field(default=None, ge=1, le=4096)
    """Average the pixels down to this side, which must divide the images' own; null: the images' own."""

    def averaged(self, images: Images) -> Images:
        """The images at that size. Raises SpecError if it does not divide the images' own."""
        own, size = images.pixels.shape[-1], self.size
        if size is None or size == own:
            return images
        if own % size:
            sides = [side for side in range(1, own + 1) if own % side == 0]
            known = f"{', '.join(map(str, sides[:-1]))} or {own}"
            raise SpecError(
                f"should divide the images' own side of {own}, so it can be {known}, not {size}",
                field="size",
                hint=f"the nearest is {min(sides, key=lambda side: abs(side - size))}",
            )
        return images.mapped(lambda pixels: means(pixels, own // size))


def means(pixels: Tensor, factor: int) -> Tensor:
    """The mean of each block of factor × factor pixels: uint8 [n, c, h, w] to [n, c, h/factor, w/factor].

    The means are exact and rounded to the nearest integer, halves to the even one.
    """
    blocks = [pixels[..., i::factor, j::factor] for i in range(factor) for j in range(factor)]
    total = torch.zeros(blocks[0].shape, dtype=torch.int32)
    for block in blocks:
        total += block
    return (total.double() / factor**2).round().to(torch.uint8)
