"""`<run>/moments/`: moments of a run's networks, in small safetensors files.

A file belongs to one set of weights, and to the data and settings that the moments were measured with. Its
name is a digest of all that. It has the float64 tensors `t`, `gamma` and `error`, a value for each index, and
`variance`, a single value.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import nn

from ..errors import SpecError
from ..files import read_bytes
from ..outputs import whole
from ..samplers import Moments
from ..samplers.moments import Gamma
from ..spec.schema import Spec
from ..terminal.console import warn

FOLDER = "moments"
MAX_BYTES = 10_000_000
"""Most bytes of a file that is read: one with 100,000 indices has 2.4 MB."""
BLOCKS = ("model", "schedule", "prediction")
"""Blocks of a spec that determine the moments of given weights."""
NAMES = ("t", "gamma", "error")


def file_of(run: Path, spec: Spec, network: nn.Module, fingerprint: str, images: int) -> Path:
    """The file of a network's moments over so many images of the data with a fingerprint."""
    resolved = spec.resolved()
    facts = [
        _digest_of(network),
        fingerprint,
        images,
        spec.evaluate.seed,
        spec.train.precision,
        {block: resolved[block] for block in BLOCKS},
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return run / FOLDER / f"{digest}.safetensors"


def write(file: Path, moments: Moments) -> None:
    """Write the moments. Raises OSError."""
    file.parent.mkdir(exist_ok=True)
    known = sorted(moments.gammas.items())
    columns = zip(*((t, gamma.value, gamma.error) for t, gamma in known), strict=True)
    tensors = {name: np.array(column) for name, column in zip(NAMES, columns, strict=True)}
    tensors["variance"] = np.array([moments.variance])
    with whole(file) as temporary:
        temporary.write_bytes(save(tensors, {"images": str(moments.images)}))


def read(file: Path, images: int) -> Moments | None:
    """The stored moments over so many images; None if the file is missing, or damaged, which is reported."""
    if not os.path.lexists(file):
        return None
    try:
        columns = load(read_bytes(file, MAX_BYTES))
        (variance,) = columns["variance"].tolist()
        if not 0 <= variance <= 1:
            raise ValueError("not the variance of pixels in [−1, 1]")
        return Moments(images, variance, _gammas(columns))
    except (SafetensorError, SpecError, OSError, LookupError, TypeError, ValueError, RuntimeError):
        warn(f"{file} is damaged: the network's moments are measured again")
        return None


def _gammas(columns: Mapping[str, NDArray[np.float64]]) -> dict[float, Gamma]:
    """Γ by index. Raises LookupError or ValueError if `write` does not write such columns."""
    t, gamma, error = (columns[name] for name in NAMES)
    for column in (t, gamma, error):
        if column.dtype != np.float64 or column.shape != (len(t),) or not np.isfinite(column).all():
            raise ValueError("not a column of finite numbers")
    if (error < 0).any():
        raise ValueError("a standard error below 0")
    values = zip(t.tolist(), gamma.tolist(), error.tolist(), strict=True)
    return {index: Gamma(value, spread) for index, value, spread in values}


def _digest_of(network: nn.Module) -> str:
    """The sha256 of a network's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
