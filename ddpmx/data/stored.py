"""Data sets on disk or on the Hub: located, decoded once, cached, and divided into splits."""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from ..errors import SpecError
from ..files import cache_root, expanded, kind, resolved
from ..text import shortened
from . import cache
from .base import Data, Images
from .divided import SPLITS, Decoded, Divided

_FORMAT = 2  # version of the cache files; must increase when images are decoded differently
FEW_IMAGES, FEW_BYTES = 1000, 20_000_000
"""The largest data set that `look` decodes completely."""


@dataclass(frozen=True, eq=False)
class Survey:
    """Information about a data set before anything is decoded."""

    key: Sequence[object]
    """Everything that the decoded bytes depend on, as JSON types: the key in the cache."""
    images: int | None
    """Number of images; None: unknown."""
    bytes: int = 0
    """Total size of the files."""
    left_out: tuple[str, ...] = ()
    """What was found but is not used, and why: one phrase each."""
    content: object = None
    """Anything else that the class's own `decode` needs."""


class Stored(Divided):
    """Base of data sets that are read from files, decoded once, and cached in `$DDPMX_CACHE`."""

    path: str | None = None
    """The data set's folder (or one parquet file), relative to the spec."""

    @abstractmethod
    def survey(self, source: Path | None) -> Survey:
        """Find the files; None means the Hub. Raises SpecError for files that cannot be used."""

    @abstractmethod
    def decode(self, source: Path | None, survey: Survey) -> Decoded:
        """Read and decode everything. Raises SpecError for anything that cannot be used."""

    @abstractmethod
    def preview(self, source: Path | None, survey: Survey) -> Decoded:
        """Decode some images for the shape, and return `Undecoded` images. Raises SpecError like `decode`."""

    def load(self, root: Path) -> Data:
        """The data set, from the cache if it was decoded before."""
        source = self.locate(root)
        survey = self.survey(source)
        return self.divide(self._cached(survey) or self._decode_and_cache(source, survey), survey.left_out)

    def look(self, root: Path) -> Data:
        """The whole data set if it is small or cached; otherwise what a preview reveals."""
        source = self.locate(root)
        survey = self.survey(source)
        decoded = self._cached(survey)
        if (
            decoded is None
            and survey.images is not None
            and survey.images <= FEW_IMAGES
            and survey.bytes <= FEW_BYTES
        ):
            decoded = self.decode(source, survey)  # not cached: a preview never writes to the cache
        if decoded is not None:
            return self.divide(decoded, survey.left_out)
        return self.divide(self.preview(source, survey), survey.left_out, fingerprint="not computed")

    def locate(self, root: Path) -> Path | None:
        """The location: `path`, else `$DDPMX_DATA/<name>`, else None. Raises SpecError for a wrong `path`."""
        if self.path is not None:
            path = root / expanded(self.path)
            if kind(path) == "missing":
                raise SpecError(f"no such file or folder: {shortened(str(path))}", field="path")
            return resolved(path)
        data_root = os.environ.get("DDPMX_DATA")
        if not data_root:
            return None
        path = expanded(data_root) / self.subfolder()
        return None if kind(path) == "missing" else resolved(path)

    def subfolder(self) -> str:
        """The data set's folder within the data root."""
        return self.component_name

    def _file(self, survey: Survey) -> Path:
        key = hashlib.sha256(json.dumps([_FORMAT, self.component_name, *survey.key]).encode()).hexdigest()
        return cache_root() / "data" / f"{self.component_name}-{key[:16]}.safetensors"

    def _cached(self, survey: Survey) -> Decoded | None:
        return cache.read(self._file(survey), _unpack)

    def _decode_and_cache(self, source: Path | None, survey: Survey) -> Decoded:
        decoded = self.decode(source, survey)
        facts = {"classes": decoded.classes, "source": str(source or "the Hub"), "left_out": decoded.left_out}
        cache.write(self._file(survey), _tensors(decoded), facts)
        return decoded


def _tensors(decoded: Decoded) -> dict[str, Tensor]:
    tensors = {f"{split}.pixels": images.pixels for split, images in decoded.splits.items()}
    return tensors | {
        f"{split}.labels": images.labels
        for split, images in decoded.splits.items()
        if images.labels is not None
    }


def _unpack(tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> Decoded:
    """The data set in a cache entry. Raises KeyError or ValueError if the content is not as written."""
    classes, left_out = facts["classes"], facts.get("left_out", [])
    if not _is_strings(left_out) or not (classes is None or _is_strings(classes)):
        raise ValueError("class names that are not strings")
    splits = [name.removesuffix(".pixels") for name in tensors if name.endswith(".pixels")]
    if not set(tensors) <= {f"{split}.{part}" for split in SPLITS for part in ("pixels", "labels")}:
        raise ValueError("unknown splits")
    shape, images = tensors["train.pixels"].shape[1:], {}
    for split in splits:
        pixels, labels = tensors[f"{split}.pixels"], tensors.get(f"{split}.labels")
        if pixels.dtype != torch.uint8 or pixels.dim() != 4 or len(pixels) == 0 or pixels.shape[1:] != shape:
            raise ValueError("not images")
        if shape[0] not in (1, 3) or shape[1] != shape[2]:
            raise ValueError("not square images")
        if labels is not None:
            if classes is None or labels.dtype != torch.int64 or labels.shape != (len(pixels),):
                raise ValueError("invalid labels")
            if not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
                raise ValueError("labels without a class")
        images[split] = Images(pixels, labels)
    return Decoded(images, None if classes is None else tuple(classes), tuple(left_out))


def _is_strings(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
