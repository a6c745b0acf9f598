"""Images in a file of tensors, as Python programs make them: safetensors, or npy without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from numpy.lib.format import read_array
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..components.registry import DATASETS
from ..errors import SpecError
from ..files import expanded, kind, open_regular, resolved
from ..images import to_pixels
from ..text import shortened
from .base import Data, Images
from .divided import SPLITS, Decoded, Divided

LABELS = ".labels"
"""The end of the name of a split's labels."""
SUFFIXES = (".safetensors", ".npy")


@DATASETS.register("tensor")
class Tensors(Divided):
    """Images in one file of tensors: uint8 [n, 1 or 3, size, size], or floats in [−1, 1], as in Python.

    A safetensors file has `train`, and perhaps `validation`, `test`, and `train.labels` and so on, int64 [n];
    `classes` in its metadata is a JSON list of names. An npy file has the training images.
    """

    path: str
    """The file, .safetensors or .npy, relative to the spec."""
    flip: bool = False
    """Mirror half of the images left to right in training."""

    def load(self, root: Path) -> Data:
        path = root / expanded(self.path)
        if kind(path) != "file" or path.suffix not in SUFFIXES:
            message = f"should be a file that ends in {' or '.join(SUFFIXES)}, not {shortened(str(path))}"
            raise SpecError(message, field="path")
        try:
            tensors, classes = _read(resolved(path))
        except (SafetensorError, OSError, ValueError) as error:
            raise SpecError(f"cannot be read: {shortened(str(error))}", field="path") from None
        return self.divide(_decoded(tensors, classes))


def images(pixels: object, labels: Tensor | None = None, name: str = "the images") -> Images:
    """Images of a tensor [n, c, h, w]: bytes, or floats in [−1, 1], which become bytes.

    Raises SpecError for other values.
    """
    if not isinstance(pixels, Tensor) or not (pixels.dtype == torch.uint8 or pixels.is_floating_point()):
        actual = f"{pixels.dtype}" if isinstance(pixels, Tensor) else type(pixels).__name__
        raise SpecError(f"{name} should be uint8, or floats in [−1, 1], not {actual}")
    pixels = pixels.detach().cpu()
    if pixels.is_floating_point():
        wrong = ~(pixels.abs() <= 1)
        if bool(wrong.any()):
            raise SpecError(f"{name} should be in [−1, 1], but one value is {float(pixels[wrong][0]):g}")
        pixels = to_pixels(pixels)
    return Images(pixels.contiguous(), None if labels is None else labels.long())


def to_bytes(data: Data) -> bytes:
    """The safetensors file of a data set."""
    tensors: dict[str, Tensor] = {}
    for split, each in data.splits():
        tensors[split] = each.pixels.contiguous()
        if each.labels is not None:
            tensors[split + LABELS] = each.labels.contiguous()
    metadata = None if data.classes is None else {"classes": json.dumps(data.classes)}
    return save(tensors, metadata)


def divided(pixels: Tensor, flip: bool = False) -> Data:
    """A data set of training images, of which the usual fraction is held out for validation."""
    return Tensors(path="", flip=flip).divide(_decoded({"train": pixels}, None))


def _read(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    """The tensors of a file, and the names of the classes if it has them."""
    if path.suffix == ".npy":
        with open_regular(path) as array:  # without pickle, which read_array refuses by default
            return {"train": torch.from_numpy(read_array(array))}, None
    with safe_open(path, framework="pt") as file:
        found = json.loads((file.metadata() or {}).get("classes", "null"))
        if not (found is None or (isinstance(found, list) and all(isinstance(name, str) for name in found))):
            raise ValueError("`classes` in its metadata should be a JSON list of names")
        return {name: file.get_tensor(name) for name in file.keys()}, None if found is None else tuple(found)  # noqa: SIM118


def _decoded(tensors: Mapping[str, Tensor], classes: tuple[str, ...] | None) -> Decoded:
    """The splits of a file's tensors. Raises SpecError for other names, and without training images."""
    valid = [name for split in SPLITS for name in (split, split + LABELS)]
    unknown = [name for name in tensors if name not in valid]
    if unknown or "train" not in tensors:
        found = f"has {shortened(unknown[0])}" if unknown else "lacks train"
        raise SpecError(f"{found}, where it should have {', '.join(valid)}", field="path")
    splits = {
        split: images(tensors[split], tensors.get(split + LABELS), f"the {split} images")
        for split in SPLITS
        if split in tensors
    }
    labels = [each.labels for each in splits.values() if each.labels is not None]
    if labels and classes is None:
        classes = tuple(map(str, range(int(max(each.max() for each in labels)) + 1)))
    return Decoded(splits, classes)
