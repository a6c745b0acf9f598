"""How many generated images are copies of training images."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import METRICS
from ..data import Data
from ..errors import SpecError
from ..images import Picture
from ..text import number
from .base import Metric
from .halves import COUNT, halves, interval, real_subset
from .nearest_images import Nearest, different, two_nearest
from .score import Score
from .subject import Subject

SHOWN = 8
"""Samples in the picture."""


@METRICS.register("memorisation", paper="Bonnaire et al. 2025, arXiv:2505.17638")
class Memorisation(Metric):
    """Share of generated images that copy a training image; lower is better.

    An image is a copy if its nearest training image is nearer than `ratio` times the distance to the second
    nearest, in the Euclidean distance of pixels. If training mirrors images, the mirror image of a training
    image counts as that image; training images that are equal count as one. The floor is the share among
    real images that were not trained on, from the test split or else the validation split. Few training
    images are easily memorised, so their number stands beside the share.
    """

    ratio: float = Field(1 / 3, gt=0, lt=1)
    """Largest ratio of the distance to the nearest training image to that to the second nearest."""

    def check(self, data: Data) -> None:
        if len(data.train) < 2:
            raise SpecError(f"'{data.name}' has a single training image: at least 2 are needed")

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"memorisation": share}`, for 4 images or more and at least 2 different training images."""
        data, n = subject.data, len(subject.images)
        subject.check_images(4)
        chosen = different(data.train.pixels, data.flip)
        if len(chosen) < 2:
            raise SpecError(f"all training images of '{data.name}' are equal: 2 different ones are needed")
        training = data.train.pixels[chosen]

        def nearest(images: Tensor, what: str) -> Nearest:
            return two_nearest(
                images, training, data.flip, lambda done, total: subject.progress(what, done, total)
            )

        found = nearest(subject.images, "nearest training images")
        copies = self.copies(found)
        value = float(copies.mean())
        half_values = halves(n).double() @ copies / (n // 2)  # [COUNT]
        split = "validation" if data.test is None else "test"
        held_out = real_subset(dict(data.splits())[split].pixels, n)
        floor = self.copies(nearest(held_out, "nearest training images of real images"))
        return {
            "memorisation": Score(
                value=value,
                better="lower",
                n=n,
                seed=subject.seed,
                split="train",
                preprocessing="8-bit values",
                # rule of three: a share of n images that is equal in all halves is still uncertain by 3/n
                interval=interval(value, half_values, n, low=0.0, high=1.0, minimum=3 / n),
                interval_note=f"{COUNT} random halves",
                floor=float(floor.mean()),
                floor_n=len(held_out),
                floor_split=split,
                depends_on_n=False,
                values=half_values,
                facts=self._facts(data, len(chosen)),
                picture=self._picture(subject.images, training, found, data.flip),
            )
        }

    def copies(self, nearest: Nearest) -> Tensor:
        """1 for each image that is a copy, otherwise 0: float64 [n]."""
        first, second = nearest.distances.T
        is_copy: Tensor = first < self.ratio * second
        return is_copy.double()

    def _facts(self, data: Data, count: int) -> dict[str, int | float | str]:
        facts: dict[str, int | float | str] = {"training images": len(data.train)}
        if count < len(data.train):
            facts["different training images"] = count
        if data.flip:
            facts["mirror images"] = "included"
        return facts

    def _picture(self, images: Tensor, training: Tensor, found: Nearest, flip: bool) -> Picture:
        """The images that are most like copies, beside their nearest training images."""
        ratios = found.distances[:, 0] / found.distances[:, 1]
        chosen = ratios.argsort(stable=True)[:SHOWN]
        rows = [
            torch.stack([images[i], *(_as_near(images[i], training[j], flip) for j in found.indices[i])])
            for i in chosen
        ]
        labels = []
        for i in chosen:
            first, second = found.distances[i].tolist()
            kind = "copy" if ratios[i] < self.ratio else "no copy"
            labels.append(f"{kind}: {number(first)} / {number(second)} = {float(ratios[i]):.2f}")
        return Picture(
            torch.stack(rows),
            ("sample", "nearest training image", "second nearest training image"),
            tuple(labels),
            f"The {len(rows)} samples that are most like copies, each with its nearest and its second nearest"
            " training image, and the ratio of the distances to them."
            f" Below {self.ratio:.2g}, a sample counts as a copy.",
        )


def _as_near(image: Tensor, other: Tensor, flip: bool) -> Tensor:
    """The other image, or with `flip` its mirror image if that is nearer to the image."""
    forms = [other, other.flip(-1)] if flip else [other]
    return min(forms, key=lambda form: float((form.double() - image.double()).square().sum()))
