"""The base class of metrics, and the real images that they compare with."""

from __future__ import annotations

from abc import abstractmethod
from math import isfinite
from typing import TYPE_CHECKING, ClassVar, Literal

from ..components.registry import Component
from ..data import Data, Images
from ..errors import SpecError
from ..plugins.expected import described, instance
from ..plugins.guard import Arguments, Contract
from .score import Score
from .subject import Subject

if TYPE_CHECKING:
    from ..spec.schema import Spec

Split = Literal["test", "validation", "train"]
"""A split of the real images."""
Reference = Split | None
"""The split of the real images to compare with; None: the test split if there is one, else the training
images."""


def _problem_of_scores(metric: Metric, arguments: Arguments, scores: object) -> str:
    """What is wrong with the value that a plugin's metric returned; empty if it is right."""
    if not isinstance(scores, dict):
        return f"should return a dict of names and ddpmx.Score, not {type(scores).__name__}"
    if not all(isinstance(name, str) and isinstance(score, Score) for name, score in scores.items()):
        values = ", ".join(map(described, list(scores.values())[:3]))
        return f"should return a dict of names and ddpmx.Score, not {type(scores).__name__} of {values}"
    for name, score in scores.items():
        if not isinstance(score.value, int | float):
            return f"should give '{name}' a finite number, not {described(score.value)}"
    # single values that are not finite are left out later, with a warning: here only if all of them are
    if scores and not any(isfinite(score.value) for score in scores.values()):
        name, score = next(iter(scores.items()))
        return f"should give '{name}' a finite number, not {score.value:g}"
    return ""


class Metric(Component):
    """Base of the metrics."""

    contract: ClassVar[Contract] = {
        "compute": _problem_of_scores,
        "missing": lambda _, arguments, value: instance(value, str, optional=True),
        "feature_dimension": lambda _, arguments, value: instance(value, int, optional=True),
        "samples_note": lambda _, arguments, value: instance(value, str),
    }

    needs_images: ClassVar[bool] = True
    """False for a metric of `subject.experiment` and `subject.network`; if no metric needs images, none are
    generated."""
    score_suffixes: ClassVar[tuple[str, ...]] = ("",)
    """What the names of its scores append to its own; the first is the one that stands for it."""
    score_names: ClassVar[tuple[str, ...]] = ()
    """Names of its scores in full, in place of `score_suffixes`, where they do not begin with its own."""

    @classmethod
    def names_of_scores(cls) -> tuple[str, ...]:
        """The names of its scores; the first is the one that stands for it."""
        return cls.score_names or tuple(f"{cls.component_name}{suffix}" for suffix in cls.score_suffixes)

    def check(self, data: Data) -> None:
        """Raises SpecError if the metric can't be computed for this data set. Called before a run starts."""

    def feature_dimension(self, data: Data) -> int | None:
        """The dimension of the Gaussians whose Fréchet distance it is; None if it is no such distance.

        With fewer images than that, the distance is mostly bias, and the preflight says so.
        """
        return None

    def samples_note(self, data: Data, samples: int) -> str:
        """A note if so many generated images are too few for a Fréchet distance; empty otherwise."""
        dimension = self.feature_dimension(data)
        if dimension is None or not self.needs_images or samples >= dimension:
            return ""
        return (
            f"'{self.component_name}': {samples:,} generated images are {_mostly_bias(dimension)}"
            " (raise evaluate.samples)"
        )

    def check_spec(self, spec: Spec) -> None:
        """Raises SpecError if the metric can't be computed for a spec's network or sampler. Called before a
        run starts."""

    def missing(self) -> str:
        """What this machine lacks to compute the metric, and how to provide it; empty if nothing is missing.

        A run leaves out a metric that lacks something.
        """
        return ""

    @abstractmethod
    def compute(self, subject: Subject) -> dict[str, Score]:
        """Measure a model; each key starts with the metric's name, or is one of `score_names`.

        Raises SpecError if there are too few images.
        """


def reference_split(data: Data, reference: Reference) -> Split:
    """The split to compare with: `reference`, or the test split if there is one, or the training one."""
    return reference or ("train" if data.test is None else "test")


def reference_note(metric: Metric, data: Data) -> str:
    """A note if the metric uses the training images for lack of a test split; empty otherwise."""
    if (
        "reference" not in type(metric).model_fields
        or getattr(metric, "reference", "") is not None
        or data.test is not None
    ):
        return ""
    return f"'{metric.component_name}' compares with the training images, as '{data.name}' has no test split"


def size_notes(metric: Metric, data: Data, samples: int) -> list[str]:
    """Notes if `samples` images, or the real ones, are too few for a metric that is a Fréchet distance."""
    dimension = metric.feature_dimension(data)
    if dimension is None:
        return []
    note = metric.samples_note(data, samples)
    notes = [note] if note else []
    split = reference_split(data, getattr(metric, "reference", None))
    counts = data.counts
    if counts.get(split, dimension) < dimension:
        larger = [other for other in reversed(counts) if counts[other] >= dimension]
        remedy = f"`reference: {larger[0]}` has {counts[larger[0]]:,}" if larger else "no split has more"
        notes.append(
            f"'{metric.component_name}': the {counts[split]:,} {split} images that it compares with are"
            f" {_mostly_bias(dimension)} ({remedy})"
        )
    return notes


def _mostly_bias(dimension: int) -> str:
    return f"fewer than its {dimension:,} feature dimensions, so the distance is mostly bias"


def reference_images(data: Data, reference: Reference) -> Images:
    """The real images to compare with, at least 2.

    Raises SpecError if the split is missing or has only one image.
    """
    split = reference_split(data, reference)
    images = dict(data.splits()).get(split)
    if images is None:
        hint = "`reference: train`, as in -s 'evaluate.metrics=[{name: fd_cnn, reference: train}]'"
        raise SpecError(f"'{data.name}' has no test split", field="reference", hint=hint)
    if len(images) < 2:
        message = f"the {split} split of '{data.name}' has a single image: at least 2 are needed"
        raise SpecError(message, field="reference")
    return images
