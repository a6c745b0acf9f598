"""Data sets that lie on a disk or on the Hub: found, decoded once, cached, divided."""

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
from pydantic import Field
from torch import Tensor

from ..errors import SpecError
from ..files import cache_root, expanded, kind, resolved
from ..text import shortened
from . import cache
from .base import Data, Dataset, Images, shuffled

_FORMAT = 2  # of the cache files: a change in how images are decoded counts it up
FEW_IMAGES, FEW_BYTES = 1000, 20_000_000
"""What `look` decodes as a whole."""
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Decoded:
    """A data set as it was published: its splits by name (`train`, and perhaps `validation` and `test`)."""

    splits: dict[str, Images]
    classes: tuple[str, ...] | None
    left_out: tuple[str, ...] = ()
    """What was found in decoding and not taken, a phrase each."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What is known of a data set before anything of it is decoded."""

    key: Sequence[object]
    """All that the decoded bytes depend on (JSON types): the key of the cache."""
    images: int | None
    """How many there are; None: not known."""
    bytes: int = 0
    """In all of its files."""
    left_out: tuple[str, ...] = ()
    """What is there and is not taken, and why, a phrase each."""
    content: object = None
    """What its own `decode` needs."""


class Stored(Dataset):
    """Base of the data sets that are read from files; they are decoded once and cached under `$DDPMX_CACHE`.

    A validation split that the set comes with is used as it is; else `validation` of the training set is held out. A
    test split is never made: a set without one has none.
    """

    path: str | None = None
    """Where the files are: a folder (or one parquet file), relative to the spec."""
    validation: float = Field(default=0.05, gt=0, lt=1)
    """Fraction of the training set that validates instead, always the same images; unused if the set has a validation split."""

    @abstractmethod
    def survey(self, source: Path | None) -> Survey:
        """Finds the files. `source` None: the Hub. Raises SpecError for what can't be used."""

    @abstractmethod
    def decode(self, source: Path | None, survey: Survey) -> Decoded:
        """Reads and decodes everything. Raises SpecError for what can't be used."""

    @abstractmethod
    def sample(self, source: Path | None, survey: Survey) -> Decoded:
        """`Unseen` images in place of all of them, whose shape is that of some which are decoded. Raises SpecError as `decode`."""

    def load(self, root: Path) -> Data:
        """The data set, from the cache where it was decoded before."""
        source = self.locate(root)
        survey = self.survey(source)
        return self._divide(self._cached(survey) or self._decoded(source, survey), survey)

    def look(self, root: Path) -> Data:
        """The data set where it is small or was decoded before, else what a sample of it tells."""
        source = self.locate(root)
        survey = self.survey(source)
        found = self._cached(survey)
        if (
            found is None
            and survey.images is not None
            and survey.images <= FEW_IMAGES
            and survey.bytes <= FEW_BYTES
        ):
            found = self.decode(source, survey)  # not for the cache, which a look leaves alone
        if found is not None:
            return self._divide(found, survey)
        return self._divide(self.sample(source, survey), survey, fingerprint="not computed")

    def locate(self, root: Path) -> Path | None:
        """The set's files: `path`, else `$DDPMX_DATA/<name>`, else None. Raises SpecError when `path` is not there."""
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
        """Where the set lies under the data root."""
        return self.component_name

    def _file(self, survey: Survey) -> Path:
        key = hashlib.sha256(json.dumps([_FORMAT, self.component_name, *survey.key]).encode()).hexdigest()
        return cache_root() / "data" / f"{self.component_name}-{key[:16]}.safetensors"

    def _cached(self, survey: Survey) -> Decoded | None:
        return cache.read(self._file(survey), _unpack)

    def _decoded(self, source: Path | None, survey: Survey) -> Decoded:
        """Decodes it, for the cache too."""
        decoded = self.decode(source, survey)
        facts = {"classes": decoded.classes, "source": str(source or "the Hub"), "left_out": decoded.left_out}
        cache.write(self._file(survey), _tensors(decoded), facts)
        return decoded

    def _divide(self, decoded: Decoded, survey: Survey, fingerprint: str = "") -> Data:
        train, validation = decoded.splits["train"], decoded.splits.get("validation")
        order = shuffled(len(train), self.limit)
        if validation is None:
            held_out = max(1, round(len(order) * self.validation))
            if held_out >= len(order):
                raise SpecError(
                    f"{self.validation} of {len(order)} training images leaves none to train with",
                    field="validation",
                )
            validation = train.take(order[:held_out].sort().values)
            order = order[held_out:]
        if len(order) < len(train):
            train = train.take(order.sort().values)
        flip = bool(getattr(self, "flip", False))  # a field of the sets whose images may be mirrored
        left_out = (*survey.left_out, *decoded.left_out)
        test = decoded.splits.get("test")
        return Data(
            self.component_name, train, validation, test, decoded.classes, flip, fingerprint, left_out
        )


def _tensors(decoded: Decoded) -> dict[str, Tensor]:
    tensors = {f"{split}.pixels": images.pixels for split, images in decoded.splits.items()}
    return tensors | {
        f"{split}.labels": images.labels
        for split, images in decoded.splits.items()
        if images.labels is not None
    }


def _unpack(tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> Decoded:
    """What the cache holds. Raises KeyError or ValueError where it is not what was written there."""
    classes, left_out = facts["classes"], facts.get("left_out", [])
    if not _is_words(left_out) or not (classes is None or _is_words(classes)):
        raise ValueError("classes that are no names")
    splits = [name.removesuffix(".pixels") for name in tensors if name.endswith(".pixels")]
    if not set(tensors) <= {f"{split}.{part}" for split in SPLITS for part in ("pixels", "labels")}:
        raise ValueError("other splits")
    shape, found = tensors["train.pixels"].shape[1:], {}
    for split in splits:
        pixels, labels = tensors[f"{split}.pixels"], tensors.get(f"{split}.labels")
        if pixels.dtype != torch.uint8 or pixels.dim() != 4 or len(pixels) == 0 or pixels.shape[1:] != shape:
            raise ValueError("not images")
        if shape[0] not in (1, 3) or shape[1] != shape[2]:
            raise ValueError("not square images")
        if labels is not None:
            if classes is None or labels.dtype != torch.int64 or labels.shape != (len(pixels),):
                raise ValueError("not labels")
            if not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
                raise ValueError("labels without a class")
        found[split] = Images(pixels, labels)
    return Decoded(found, None if classes is None else tuple(classes), tuple(left_out))


def _is_words(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)
