"""Data sets with splits of their own, of which validation images are held out if they have none."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from ..errors import SpecError
from .base import Data, Dataset, Images, shuffled

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Decoded:
    """A data set with its original splits."""

    splits: dict[str, Images]
    """The images of `train`, and perhaps of `validation` and `test`."""
    classes: tuple[str, ...] | None
    """Names of the classes; None without labels."""
    left_out: tuple[str, ...] = ()
    """What turned out not to be usable in decoding: one phrase each."""


class Divided(Dataset):
    """Base of data sets that hold images out.

    If the data set has a validation split, it is used. Otherwise the fraction `validation` of the training
    images is held out. A test split is never created.
    """

    validation: float = Field(default=0.05, gt=0, lt=1)
    """Fraction of the training images held out for validation; unused if the set has a validation split."""

    def divide(self, decoded: Decoded, left_out: tuple[str, ...] = (), fingerprint: str = "") -> Data:
        """Apply `limit`, and hold out validation images if the data set has no validation split."""
        splits = {split: self.shaped(images) for split, images in decoded.splits.items()}
        train, validation = splits["train"], splits.get("validation")
        order = shuffled(len(train), self.limit)
        if validation is None:
            held_out = max(1, round(len(order) * self.validation))
            if held_out >= len(order):
                raise SpecError(
                    f"holding out {self.validation} of {len(order)} training images leaves none to train on",
                    field="validation",
                    hint="use a smaller fraction, or more images",
                )
            validation = train.take(order[:held_out].sort().values)
            order = order[held_out:]
        if len(order) < len(train):
            train = train.take(order.sort().values)
        flip = bool(getattr(self, "flip", False))  # a field only where mirroring makes sense
        left_out = (*left_out, *decoded.left_out)
        test = splits.get("test")
        return Data(
            self.component_name, train, validation, test, decoded.classes, flip, fingerprint, left_out
        )

    def shaped(self, images: Images) -> Images:
        """The decoded images as the data set has them: a quick change, made after they are cached."""
        return images
