"""What a metric is: numbers about a model, named by what they measure."""

from __future__ import annotations

from abc import abstractmethod
from math import isfinite
from typing import ClassVar, Literal

from ..components.registry import Component
from ..data import Data, Images
from ..errors import SpecError
from ..plugins.expected import described, instance
from ..plugins.guard import Arguments, Contract
from .score import Score
from .subject import Subject

Split = Literal["test", "train"]
Reference = Split | None
"""The split of the real images; None: the test split where there is one, else the training images."""


def _scores(metric: Metric, given: Arguments, scores: object) -> str:
    """What is wrong with what a plugin's metric returns."""
    if not isinstance(scores, dict) or not all(
        isinstance(name, str) and isinstance(score, Score) for name, score in scores.items()
    ):
        inside = (
            ""
            if not isinstance(scores, dict)
            else f" of {', '.join(map(described, list(scores.values())[:3]))}"
        )
        return f"should return a dict of names and ddpmx.Score, not {type(scores).__name__}{inside}"
    for name, score in scores.items():
        if not isinstance(score.value, int | float):
            return f"should give '{name}' a finite number, not {described(score.value)}"
    if scores and not any(
        isfinite(score.value) for score in scores.values()
    ):  # some of them are left out one by one
        name, score = next(iter(scores.items()))
        return f"should give '{name}' a finite number, not {score.value:g}"
    return ""


class Metric(Component):
    """Base of the metrics."""

    contract: ClassVar[Contract] = {
        "compute": _scores,
        "missing": lambda _, given, value: instance(value, str, optional=True),
    }

    needs_images: ClassVar[bool] = True
    """False: it measures `subject.experiment` and `subject.network`; where all do, no images are drawn."""

    def check(self, data: Data) -> None:
        """Raises SpecError when the metric can't be taken of this data set; asked before a run begins."""

    def missing(self) -> str:
        """What this machine lacks for it, and how to provide it: a run leaves the metric out. Empty: nothing."""
        return ""

    @abstractmethod
    def compute(self, subject: Subject) -> dict[str, Score]:
        """Measures a model; the keys start with the metric's name. Raises SpecError when it can't be taken of so few images."""


def reference_split(data: Data, reference: Reference) -> Split:
    """The split that is compared with."""
    return reference or ("train" if data.test is None else "test")


def reference_note(metric: Metric, data: Data) -> str:
    """What to say of a metric that takes the training images for want of a test split; empty for others."""
    if (
        "reference" not in type(metric).model_fields
        or getattr(metric, "reference", "") is not None
        or data.test is not None
    ):
        return ""
    return f"'{metric.component_name}' compares with the training images, as '{data.name}' has no test split"


def reference_images(data: Data, reference: Reference) -> Images:
    """The real images to compare with, 2 or more. Raises SpecError."""
    split = reference_split(data, reference)
    images = data.test if split == "test" else data.train
    if images is None:
        hint = "`reference: train`, as in -s 'evaluate.metrics=[{name: fd_cnn, reference: train}]'"
        raise SpecError(f"'{data.name}' has no test split", field="reference", hint=hint)
    if len(images) < 2:
        raise SpecError(f"the {split} split of '{data.name}' has a single image", field="reference")
    return images
