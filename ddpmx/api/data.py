"""Tensors of images as the data of a run."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from .. import outputs
from ..data import Data
from ..data.tensor import divided, to_bytes
from ..errors import SpecError
from ..spec.source import Source
from ..spec.values import replacing

FOLDER = "data"
"""The folder for tensors below that of all runs."""


def data_of(data: Data | Tensor) -> Data:
    """The data set; of a tensor of images, a fixed twentieth is held out for validation.

    Raises SpecError, at `data`, for tensors that are no images.
    """
    try:
        return data if isinstance(data, Data) else divided(data)
    except SpecError as error:
        raise error.at("data", None) from None


def stored(data: Data, out: Path) -> list[Source]:
    """The changes of a spec to this data set, which is stored once below `out`, so that runs find it again.

    Raises SpecError or RunError if it cannot be written.
    """
    path = (out / FOLDER / f"{data.fingerprint}.safetensors").absolute()
    if not path.exists():
        outputs.write(path, to_bytes(data), "out")
    return replacing("dataset", {"name": "tensor", "path": str(path), "flip": data.flip})


def shaped(data: Data) -> list[Source]:
    """The changes of a spec to a data set of this shape without images, for a training that is given them."""
    return replacing("dataset", {"name": "no_images", "channels": data.channels, "size": data.size})
