"""Data sets of rows that hold an encoded image and perhaps a label, read by the `datasets` library."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..errors import SpecError, nearest
from ..progress import track
from . import cache, hub
from .base import Images
from .decode import Channels, Decoder
from .stored import Decoded, Stored

if TYPE_CHECKING:
    from datasets import IterableDataset

SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
ROWS = 1000  # read at a time
_ON_HUB = re.compile(r"((zip|tar|gzip)://[^:]*::)?hf://datasets/[^:]+")


class Tabular(Stored):
    """Base of the sets that lie in parquet files, in the layout of a Hub repository, or in a repository on the Hub."""

    repository: ClassVar[str] = ""

    def on_hub(self) -> hub.Repository | None:
        """Where the Hub has it."""
        return hub.Repository(self.repository) if self.repository else None

    def columns(self) -> tuple[str | None, str | None]:
        """The image's column and the label's; None: found by type and name."""
        return None, None

    def form(self) -> tuple[int | None, Channels]:
        """Size and channels that images are brought to; None: as they are."""
        return None, None

    def identity(self, source: Path | None) -> list[Any]:
        """The content of the parquet files, or the repository's name."""
        content = str(self.on_hub()) if source is None else [(file.name, _hash(file)) for file in _parquet_files(source)]
        return [content, self.columns(), self.form()]

    def decode(self, source: Path | None) -> Decoded:
        """All rows. Raises SpecError that names the row or the column that can't be used."""
        with cache.scratch() as scratch:
            origin, total, splits = self._open(source, Path(scratch))
            features = splits["train"].features
            image, label = _columns(features, *self.columns())
            decoder = Decoder(*self.form())
            labels: dict[str, list[Any]] = {split: [] for split in splits}
            rows = _rows(splits, image, label, origin, source)
            for split, number, encoded, value in track(rows, f"Decoding {self.component_name}", total):
                decoder.add(split, f"row {number} of the {split} split of {origin}", encoded)
                labels[split].append(value)
        names = getattr(features[label], "names", None) if label else None
        classes, indices = _index(labels, names)
        return Decoded({split: Images(pixels, indices[split]) for split, pixels in decoder.stacks().items()}, classes)

    def _open(self, source: Path | None, scratch: Path) -> tuple[str, int | None, dict[str, IterableDataset]]:
        """What to call it in messages, how many rows it has if known, and the rows of each split."""
        repository = self.on_hub()
        if source is None:
            assert repository is not None  # a set that is not on the Hub requires its `path`
            found = hub.fetch(repository, self.component_name, self.subfolder(), scratch)
            origin, total = repository.name, None
        else:
            origin, total = str(source), sum(map(_count, _parquet_files(source)))
            found = _load(source, repository.config if repository else None, scratch)
        splits = {SPLITS[name]: rows for name, rows in found.items() if name in SPLITS}
        if "train" not in splits and len(found) == 1:
            splits = {"train": next(iter(found.values()))}
        if "train" not in splits:
            raise SpecError(f"{origin} has no split 'train', but: {', '.join(map(str, found))}")
        return origin, total, splits


def _parquet_files(source: Path) -> list[Path]:
    files = [source] if source.is_file() else sorted(source.rglob("*.parquet"))
    if not files:
        raise SpecError(f"no parquet files in {source}", field="path")
    return files


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _count(file: Path) -> int:
    """Its rows. Raises SpecError for a file that is not parquet, or only half of one."""
    import pyarrow.parquet  # type: ignore[import-untyped, unused-ignore]

    try:
        return int(pyarrow.parquet.read_metadata(file).num_rows)
    except (OSError, ValueError) as error:
        raise SpecError(f"{file} cannot be read as parquet: {error}", field="path") from error


def _load(source: Path, config: str | None, scratch: Path) -> Mapping[str, IterableDataset]:
    import datasets

    if config and (source / config).is_dir():  # a configuration's folder in the Hub's layout
        source, config = source / config, None
    try:
        if source.is_file():
            return datasets.load_dataset("parquet", data_files=str(source), streaming=True, cache_dir=str(scratch))  # type: ignore[no-any-return]
        return datasets.load_dataset(str(source), config, streaming=True, cache_dir=str(scratch))  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise SpecError(f"{source} cannot be read: {error}", field="path") from error


def _columns(features: Mapping[str, Any], image: str | None, label: str | None) -> tuple[str, str | None]:
    """The named columns; else the first of images (or called so), and the first of class labels (or called `label`)."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    for field, column in (("image_column", image), ("label_column", label)):
        if column is not None and column not in features:
            raise SpecError(f"no column '{column}' in the data", field=field, hint=nearest(column, features))
    image = image or next((name for name in [*(n for n in kinds if kinds[n] == "Image"), "image", "img"] if name in kinds), None)
    if image is None:
        raise SpecError(f"no column of images among {', '.join(features)}", field="image_column", hint="`image_column:` names one")
    if label is not None and kinds[label] not in ("ClassLabel", "Value"):
        raise SpecError(f"the column '{label}' does not hold one label a row", field="label_column")
    if label is None:
        label = next((name for name in kinds if kinds[name] == "ClassLabel"), "label" if kinds.get("label") == "Value" else None)
    return image, label


def _linked(path: str, source: Path | None) -> bytes:
    """An image that a row only names: a file below `source`, or of the Hub. Whoever wrote the row may not choose another."""
    import fsspec  # type: ignore[import-untyped, unused-ignore]

    if source is None:
        if not _ON_HUB.fullmatch(path):
            raise SpecError(f"an image outside of the repository: {path}")
        with fsspec.open(path) as file:
            return bytes(file.read())
    found = (source / path).resolve()
    if not found.is_relative_to(source if source.is_dir() else source.parent):
        raise SpecError(f"an image outside of {source}: {path}")
    return found.read_bytes()


def _rows(
    splits: Mapping[str, IterableDataset], image: str, label: str | None, origin: str, source: Path | None
) -> Iterator[tuple[str, int, bytes, Any]]:
    """Split, number, encoded image and label of each row."""
    import datasets

    for split, rows in splits.items():
        number = 0
        try:
            for batch in rows.cast_column(image, datasets.Image(decode=False)).iter(batch_size=ROWS):
                for k, cell in enumerate(batch[image]):
                    if cell is None:
                        raise SpecError(f"row {number} of the {split} split of {origin} has no image")
                    encoded = cell["bytes"] or _linked(cell["path"], source)
                    yield split, number, encoded, batch[label][k] if label else None
                    number += 1
        except SpecError:
            raise
        except Exception as error:  # of the file, or of the network
            raise SpecError(f"{origin} cannot be read after row {number} of its {split} split: {error}") from error


def _index(labels: dict[str, list[Any]], names: list[str] | None) -> tuple[tuple[str, ...] | None, dict[str, Tensor | None]]:
    """Class names and, for each split, indices into them.

    Without `names` (what a ClassLabel column has) the classes are the training labels' values, sorted. A split whose
    labels are all null or −1, as the Hub marks hidden ones, has none.
    """
    known = range(len(names)) if names is not None else sorted({value for value in labels["train"] if value is not None})
    index = {value: k for k, value in enumerate(known)}
    indices: dict[str, Tensor | None] = {}
    for split, values in labels.items():
        strange = [value for value in values if value not in index]
        if set(values) <= {None, -1}:
            indices[split] = None
        elif strange:
            raise SpecError(f"the label {strange[0]!r} in the {split} split is none of the training set's classes", field="label_column")
        else:
            indices[split] = torch.tensor([index[value] for value in values])
    if indices["train"] is None:
        return None, dict.fromkeys(labels)
    return tuple(map(str, names or known)), indices
