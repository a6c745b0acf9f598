"""Claims about quantities that follow from a point's spec without a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch

from ..components.registry import DATASETS, SCHEDULES
from ..data import Images
from ..errors import SpecError
from ..schedules import Table
from ..spec.claims import Equals
from ..theory.variance import prior_terms
from .points import Point
from .verdict import Outcome, Verdict

CHUNK = 4096
"""Images that are held as numbers at a time."""
UNITS = {"terminal_signal": "share of x_0", "prior_bits": "bits per dimension"}


def judge_equals(claim: Equals, point: Point) -> Verdict:
    """The verdict on a claim that a computed quantity has a value; undecided where it cannot be computed."""
    try:
        value = computed(claim.measure, point.spec)
    except SpecError as error:  # data that this machine lacks, or a plugin's component
        return Verdict(claim, "undecided", needs=f"{claim.measure} cannot be computed here: {error.message}")
    verdict: Outcome = "holds" if abs(value - claim.value) <= claim.within else "fails"
    return Verdict(claim, verdict, value, value, value, unit=UNITS[claim.measure])


def computed(measure: str, spec: Mapping[str, object]) -> float:
    """A quantity of a resolved spec. Raises SpecError for a component or data that are not there."""
    block = _block(spec, "schedule")
    table = SCHEDULES.build(str(block.pop("name")), **block).table()
    if measure == "terminal_signal":
        return float(table.signal[-1])
    return prior_bits(table, mean_square(json.dumps(_block(spec, "dataset"), sort_keys=True)))


def prior_bits(table: Table, square: float) -> float:
    """The Kullback-Leibler divergence of q(x_T | x_0) from pure noise, in bits per dimension.

    A mean over images whose values have this mean square, of which it is a linear function.
    """
    return float(prior_terms(torch.full((1, 1), math.sqrt(square), dtype=torch.float64), table))


@lru_cache(maxsize=8)
def mean_square(dataset: str) -> float:
    """The mean square of the training images' values in [−1, 1], of a `dataset:` block as JSON.

    Raises SpecError if the data are missing.
    """
    block = json.loads(dataset)
    images: Images = DATASETS.build(block.pop("name"), **block).load(Path.cwd()).train
    pixels = images.pixels
    total = sum(float((part.double() / 127.5 - 1).square().sum()) for part in pixels.split(CHUNK))
    return total / pixels.numel()


def _block(spec: Mapping[str, object], field: str) -> dict[str, object]:
    block = spec[field]
    return dict(block) if isinstance(block, Mapping) else {"name": block}
