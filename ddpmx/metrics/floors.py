"""Real images in place of generated ones, whose score is that of a perfect model: a score's floor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .base import Split
from .features import Extractor
from .halves import real_parts
from .subject import Subject


@dataclass(frozen=True, eq=False)
class FloorImages:
    """Features of two disjoint sets of real images, to be scored as generated and real ones are."""

    part: Tensor
    """In place of the generated images: n of them, or fewer where no split has n. May be empty."""
    others: Tensor
    """The real images that they are compared with."""
    split: str
    """The split of `part`."""


def floor_images(
    subject: Subject, extractor: Extractor, split: Split, real: Tensor, n: int, *, whole: bool = False
) -> FloorImages:
    """The images for the floor of a score of n images that are compared with `real`, the images of `split`.

    Up to half of that split, n of its images are compared with its others. Otherwise n images of another
    split, held-out ones first, are compared with the whole split; with `whole`, always if a held-out one has
    n. Where no split has n images, it is half of that split: such a floor is not comparable with a score that
    depends on the number of images.
    """
    is_large, counts = n > len(real) // 2, subject.data.counts
    for other in ("test", "validation", "train"):
        allowed = is_large or (whole and other != "train")
        if allowed and other != split and counts.get(other, 0) >= n:
            return FloorImages(subject.real_features(extractor, other, n), real, other)
    part, others = real_parts(real, n)
    return FloorImages(part, others, split)
