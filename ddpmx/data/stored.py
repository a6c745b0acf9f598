"""Data sets that lie on a disk or on the Hub: found, decoded once, cached, divided."""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor

from ..errors import SpecError
from . import cache
from .base import Data, Dataset, Images, shuffled

_FORMAT = 2  # of the cache files: a change in how images are decoded counts it up


@dataclass(frozen=True, eq=False)
class Decoded:
    """A data set as it was published: its splits by name (`train`, and perhaps `validation` and `test`)."""

    splits: dict[str, Images]
    classes: tuple[str, ...] | None


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
    def identity(self, source: Path | None) -> list[Any]:
        """All that the decoded bytes depend on (JSON types): the key of the cache. `source` None: the Hub."""

    @abstractmethod
    def decode(self, source: Path | None) -> Decoded:
        """Reads and decodes everything. Raises SpecError for what can't be used."""

    def load(self, root: Path) -> Data:
        """The data set, from the cache where it was decoded before."""
        source = self.locate(root)
        key = hashlib.sha256(json.dumps([_FORMAT, self.component_name, *self.identity(source)]).encode()).hexdigest()
        path = cache.cache_root() / "data" / f"{self.component_name}-{key[:16]}.safetensors"
        found = cache.read(path)
        if found is None:
            decoded = self.decode(source)
            cache.write(path, _tensors(decoded), {"classes": decoded.classes, "source": str(source or "the Hub")})
        else:
            tensors, facts = found
            decoded = _decoded(tensors, None if facts["classes"] is None else tuple(facts["classes"]))
        return self._divide(decoded)

    def locate(self, root: Path) -> Path | None:
        """The set's files: `path`, else `$DDPMX_DATA/<name>`, else None. Raises SpecError when `path` is not there."""
        if self.path is not None:
            path = root / Path(self.path).expanduser()
            if not path.exists():
                raise SpecError(f"no such file or folder: {path}", field="path")
            return path.resolve()
        data_root = os.environ.get("DDPMX_DATA")
        path = Path(data_root or "").expanduser() / self.subfolder()
        return path.resolve() if data_root and path.exists() else None

    def subfolder(self) -> str:
        """Where the set lies under the data root."""
        return self.component_name

    def _divide(self, decoded: Decoded) -> Data:
        train, validation = decoded.splits["train"], decoded.splits.get("validation")
        order = shuffled(len(train), self.limit)
        if validation is None:
            held_out = max(1, round(len(order) * self.validation))
            if held_out >= len(order):
                raise SpecError(f"{self.validation} of {len(order)} training images leaves none to train with", field="validation")
            validation = train.take(order[:held_out].sort().values)
            order = order[held_out:]
        if len(order) < len(train):
            train = train.take(order.sort().values)
        flip = bool(getattr(self, "flip", False))  # a field of the sets whose images may be mirrored
        return Data(self.component_name, train, validation, decoded.splits.get("test"), decoded.classes, flip)


def _tensors(decoded: Decoded) -> dict[str, Tensor]:
    tensors = {f"{split}.pixels": images.pixels for split, images in decoded.splits.items()}
    return tensors | {f"{split}.labels": images.labels for split, images in decoded.splits.items() if images.labels is not None}


def _decoded(tensors: dict[str, Tensor], classes: tuple[str, ...] | None) -> Decoded:
    names = [name.removesuffix(".pixels") for name in tensors if name.endswith(".pixels")]
    return Decoded({name: Images(tensors[f"{name}.pixels"], tensors.get(f"{name}.labels")) for name in names}, classes)
