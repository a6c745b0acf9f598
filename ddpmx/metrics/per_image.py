"""The score of a metric that gives a value for each real image: their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from .base import Metric, reference_split
from .score import Score
from .subject import Subject


def mean_over_images(
    metric: Metric,
    subject: Subject,
    values: Tensor,
    preprocessing: str,
    *,
    widened: tuple[float, str] = (0.0, ""),
    facts: Mapping[str, int | float | str] | None = None,
) -> Score:
    """The mean of `values`, float64 [n], where lower is better and the metric's `reference` is their split.

    The interval comes from the standard error of the mean. It is `widened` on both sides by a further error,
    with the words for it.
    """
    error, words = widened
    mean = float(values.mean())
    half = 1.96 * float(values.std()) / math.sqrt(len(values)) + error
    return Score(
        value=mean,
        better="lower",
        n=len(values),
        seed=subject.seed,
        split=reference_split(subject.data, getattr(metric, "reference", None)),
        preprocessing=preprocessing,
        interval=(mean - half, mean + half),
        interval_note="of the mean over images, from their standard deviation" + words,
        values=values,
        values_of="images",
        facts=facts or {},
    )
