"""`<run>/draws/`: the values behind the intervals of a run's scores, in small safetensors files.

A file belongs to one measurement. It has a float32 tensor for each score: the score of each random half of
the generated images, or one value per real image. Where two runs were measured on the same halves or images,
the values tell how much of their difference the choice of images explains.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..errors import SpecError
from ..files import read_bytes
from ..outputs import whole
from ..terminal.console import warn

FOLDER = "draws"
VAL_LOSS = "val_loss.safetensors"
"""File with the losses of the validation images at the best step."""
MAX_BYTES = 100_000_000
"""Most bytes of a file that is read."""
MOST_IMAGES = 5_000
"""Most images whose values are stored: 20 kB a score. Of more, evenly spaced ones are stored."""
Kind = Literal["halves", "images", "strata"]


@dataclass(frozen=True, eq=False)
class Draws:
    """The values behind one score's interval."""

    kind: Kind
    """`halves` for scores of random halves of the generated images, `images` for values of real images, and
    `strata` for values of real images in order of their noise levels, one in each of n equal parts."""
    values: NDArray[np.float64]
    """[B], one for each half or image."""
    of: int
    """Number of images that the score is computed from; more than B if only the first were stored."""


@dataclass(frozen=True, eq=False)
class Stored:
    """The content of a file."""

    step: int
    """The training step of the measured weights."""
    draws: dict[str, Draws]
    """By the score's name."""


def write(run: Path, name: str, stored: Stored) -> str:
    """Write a file of the run; returns its path relative to the run's folder. Raises OSError.

    A single value, or one that is not finite in float32, says nothing about the noise and is left out.
    """
    path = run / FOLDER / name
    path.parent.mkdir(exist_ok=True)
    with np.errstate(over="ignore"):  # what float32 cannot hold is left out
        tensors = {key: _thinned(item.values) for key, item in stored.draws.items()}
    tensors = {key: values for key, values in tensors.items() if _have_a_spread(values)}
    facts = {
        "step": stored.step,
        "kinds": {key: item.kind for key, item in stored.draws.items()},
        "of": {key: item.of for key, item in stored.draws.items()},
    }
    with whole(path) as temporary:
        temporary.write_bytes(save(tensors, {"facts": json.dumps(facts)}))
    return f"{FOLDER}/{name}"


def read(run: Path, name: str) -> Stored | None:
    """Read a file that `write` returned the path of. None if it is missing, or damaged, which is reported."""
    path = run / name
    if not os.path.lexists(path):
        return None
    try:
        content = read_bytes(path, MAX_BYTES)
        arrays = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts = json.loads(header["__metadata__"]["facts"])
        draws = {key: _draws(values, facts, key) for key, values in arrays.items()}
        return Stored(_count(facts["step"]), draws)
    # RuntimeError includes RecursionError, which deeply nested JSON raises
    except (SafetensorError, SpecError, OSError, LookupError, TypeError, ValueError, RuntimeError):
        warn(f"{path} is damaged: the intervals of differences are computed without it")
        return None


def read_score(run: Path, name: str, score: str, step: int) -> Draws | None:
    """The draws of one score in a file of the run; None if it has none, or those of another step."""
    stored = read(run, name) if name else None
    return stored.draws.get(score) if stored is not None and stored.step == step else None


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """At most MOST_IMAGES evenly spaced values."""
    count = min(len(values), MOST_IMAGES)
    return values[np.arange(count) * len(values) // count].astype(np.float32)


def _draws(values: NDArray[np.float32], facts: Mapping[str, Mapping[str, object]], key: str) -> Draws:
    """One score's values. Raises LookupError, TypeError or ValueError if `write` does not write such ones."""
    kind, of = facts["kinds"][key], _count(facts["of"][key])
    is_array = values.dtype == np.float32 and values.ndim == 1
    if kind not in get_args(Kind) or not is_array or not _have_a_spread(values):
        raise ValueError("not a score's values")
    if of < (2 if kind == "halves" else len(values)):
        raise ValueError("not the number of images")
    return Draws(cast(Kind, kind), values.astype(np.float64), of)


def _have_a_spread(values: NDArray[np.float32]) -> bool:
    return len(values) > 1 and bool(np.isfinite(values).all())


def _count(value: object) -> int:
    """A number of images or steps. Raises ValueError if it is none."""
    if not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError("not a count")
    return value
