"""Data sets of rows that hold an encoded image and perhaps a label, read by the `datasets` library."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..errors import SpecError, nearest
from ..files import read_bytes, resolved
from ..terminal.progress import track
from ..text import shortened
from . import cache, hub
from .base import Images, Unseen
from .decode import Channels, Decoder
from .parquet_files import count_rows, file_hash, load_files, parquet_files
from .stored import Decoded, Stored, Survey

if TYPE_CHECKING:
    from datasets import IterableDataset

SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
ROWS = 1000  # read at a time
FIRST = 64  # of each split, which a short look decodes
MAX_IMAGE = 500_000_000  # bytes of an image file that a row names
_ON_HUB = re.compile(r"((zip|tar|gzip)://[^:]*::)?hf://datasets/[^:]+")


Labels = dict[str, list[Any]]
"""The values in the column of labels, by split."""


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

    def survey(self, source: Path | None) -> Survey:
        """The content of the parquet files, or the repository's name."""
        if source is None:
            return Survey([str(self.on_hub()), self.columns(), self.form()], None)
        files = parquet_files(source)
        key = [[(file.name, file_hash(file)) for file in files], self.columns(), self.form()]
        return Survey(key, None, sum(file.stat().st_size for file in files))

    def decode(self, source: Path | None, survey: Survey) -> Decoded:
        """All rows. Raises SpecError that names the row or the column that can't be used."""
        with cache.scratch() as scratch:
            table = self._open(source, Path(scratch))
            decoder = Decoder(*self.form())
            labels: Labels = {split: [] for split in table.splits}
            rows = _rows(table, source)
            for split, number, encoded, value in track(rows, f"Decoding {self.component_name}", table.total):
                decoder.add(split, table.row(split, number), encoded)
                labels[split].append(value)
        stacks = decoder.stacks()
        empty = next((split for split in table.splits if split not in stacks), None)
        if empty is not None:  # on the Hub, which may not say how many there are
            raise SpecError(f"the {empty} split of {shortened(table.origin)} has no rows", field="path")
        classes, indices = _index(labels, table.class_names)
        return Decoded(
            {split: Images(pixels, indices[split]) for split, pixels in stacks.items()},
            classes,
            table.left_out,
        )

    def sample(self, source: Path | None, survey: Survey) -> Decoded:
        """The first rows of each split, and as many images as the files say that there are."""
        with cache.scratch() as scratch:
            table = self._open(source, Path(scratch))
            decoder = Decoder(*self.form())
            labels: Labels = {split: [] for split in table.splits}
            for split, number, encoded, value in _rows(table, source, FIRST):
                decoder.add(split, table.row(split, number), encoded)
                labels[split].append(value)
            if (
                source is not None and table.class_names is None
            ):  # whose classes are all values that there are
                labels = _labels(table)
        stacks = decoder.stacks()
        shape = next(iter(stacks.values())).shape[1:]
        if source is None and table.class_names is None:
            labels["train"] += [value for values in labels.values() for value in values]
        classes, indices = _index(labels, table.class_names)
        left_out = table.left_out
        found: dict[str, Images] = {}
        for split, pixels in stacks.items():
            count = table.counts.get(split, len(pixels))
            if split not in table.counts:
                left_out = (
                    *left_out,
                    f"all but the first {len(pixels)} rows of the {split} split, whose number is not known yet",
                )
            known = indices[split]
            found[split] = Unseen.of(
                count, shape, None if known is None else torch.zeros(1, dtype=torch.int64).expand(count)
            )
        return Decoded(found, classes, left_out)

    def _open(self, source: Path | None, scratch: Path) -> Table:
        repository = self.on_hub()
        if source is None:
            assert repository is not None  # a set that is not on the Hub requires its `path`
            found: Mapping[str, IterableDataset] = hub.fetch(
                repository, self.component_name, self.subfolder(), scratch
            )
            counts: Mapping[str, int] = _told(found)
            origin, total, unused = repository.name, None, list[str]()
        else:
            origin, total = str(source), sum(map(count_rows, parquet_files(source)))
            opened = load_files(source, repository.config if repository else None, scratch)
            found, counts, unused = opened.splits, opened.counts, opened.unused
        table = _table(origin, total, found, counts, self.columns())
        if unused:
            named = shortened(", ".join(unused))
            said = f"{len(unused):,} parquet file{'s' * (len(unused) > 1)} in no split ({named})"
            table = replace(table, left_out=(*table.left_out, said))
        return table


@dataclass(frozen=True)
class Table:
    """Rows that are read as images."""

    origin: str
    """What to call them in messages."""
    splits: dict[str, IterableDataset]
    columns: tuple[str, str | None]
    """Of the images and of the labels, if there are some."""
    class_names: list[str] | None
    total: int | None
    counts: Mapping[str, int]
    """Rows, of all and of each split, as far as they are known."""
    left_out: tuple[str, ...]

    def row(self, split: str, number: int) -> str:
        """What to call a row in messages."""
        return f"row {number} of the {split} split of {shortened(self.origin)}"


def _table(
    origin: str,
    total: int | None,
    found: Mapping[str, IterableDataset],
    counts: Mapping[str, int],
    columns: tuple[str | None, str | None],
) -> Table:
    """The splits under our names. Raises SpecError where none trains, two are one, or a column is not there."""
    names: dict[str, str] = {}
    for name in map(str, found):
        split = SPLITS.get(name.lower())
        if split in names:
            raise SpecError(
                f"{shortened(origin)} has two {split} splits: {names[split]} and {shortened(name)}",
                field="path",
            )
        if split:
            names[split] = name
    if "train" not in names and len(found) == 1:
        names = {"train": str(next(iter(found)))}
    if "train" not in names:
        raise SpecError(
            f"{shortened(origin)} has no split 'train', but: {shortened(', '.join(map(str, found)))}"
        )
    by_name = {str(name): rows for name, rows in found.items()}
    others = sorted(set(by_name) - set(names.values()))
    empty = next((name for name in names.values() if counts.get(name) == 0), None)
    if empty is not None:
        raise SpecError(f"the split '{shortened(empty)}' of {shortened(origin)} has no rows", field="path")
    left_out = (f"the split{'s' * (len(others) > 1)} {shortened(', '.join(others))}",) if others else ()
    features: dict[str, object] = by_name[names["train"]].features or {}
    image, label = _columns(features, *columns)
    for split, name in names.items():
        missing = [
            column
            for column in (image, label)
            if column and column not in (by_name[name].features or features)
        ]
        if missing:
            raise SpecError(
                f"the {split} split of {shortened(origin)} has no column '{missing[0]}'", field="path"
            )
    return Table(
        origin,
        {split: by_name[name] for split, name in names.items()},
        (image, label),
        getattr(features[label], "names", None) if label else None,
        total,
        {split: counts[name] for split, name in names.items() if name in counts},
        left_out,
    )


def _told(found: Mapping[str, IterableDataset]) -> dict[str, int]:
    """How many rows each split has, as far as the Hub says."""
    told: dict[str, int] = {}
    for name, rows in found.items():
        splits = rows.info.splits or {}
        count = splits[name].num_examples if name in splits else None
        if count:
            told[str(name)] = int(count)
    return told


def _columns(features: Mapping[str, object], image: str | None, label: str | None) -> tuple[str, str | None]:
    """The named columns; else the first of images (or called so), and the first of class labels (or called `label`)."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    for field, column in (("image_column", image), ("label_column", label)):
        if column is not None and column not in features:
            raise SpecError(f"no column '{column}' in the data", field=field, hint=nearest(column, features))
    image = image or next(
        (name for name in [*(n for n in kinds if kinds[n] == "Image"), "image", "img"] if name in kinds), None
    )
    if image is None:
        raise SpecError(
            f"no column of images among {', '.join(features)}",
            field="image_column",
            hint="`image_column:` names one",
        )
    if label is not None and kinds[label] not in ("ClassLabel", "Value"):
        raise SpecError(f"the column '{label}' does not hold one label a row", field="label_column")
    if label is None:
        label = next(
            (name for name in kinds if kinds[name] == "ClassLabel"),
            "label" if kinds.get("label") == "Value" else None,
        )
    return image, label


def _linked(path: str, source: Path | None) -> bytes:
    """An image that a row only names: a file below `source`, or of the Hub. Whoever wrote the row may not choose another."""
    import fsspec  # type: ignore[import-untyped, unused-ignore]

    if source is None:
        if not _ON_HUB.fullmatch(path):
            raise SpecError(f"an image outside of the repository: {path}")
        with fsspec.open(path) as file:
            return bytes(file.read())
    found = resolved(source / path)
    if not found.is_relative_to(source if source.is_dir() else source.parent):
        raise SpecError(f"an image outside of {source}: {path}")
    return read_bytes(found, MAX_IMAGE)


def _rows(
    table: Table, source: Path | None, first: int | None = None
) -> Iterator[tuple[str, int, bytes, object]]:
    """Split, number, encoded image and label of each row, or of the `first` rows of each split."""
    import datasets

    image, label = table.columns
    for split, rows in table.splits.items():
        number = 0
        try:
            batches = rows.cast_column(image, datasets.Image(decode=False)).iter(
                batch_size=min(ROWS, first or ROWS)
            )
            for batch in batches if first is None else islice(batches, 1):
                for k, cell in enumerate(batch[image]):
                    if cell is None:
                        raise SpecError(f"{table.row(split, number)} has no image")
                    encoded = cell["bytes"] or _linked(cell["path"], source)
                    yield split, number, encoded, batch[label][k] if label else None
                    number += 1
        except SpecError:
            raise
        except Exception as error:  # of the file, or of the network
            said = f"{shortened(table.origin)} cannot be read after row {number} of its {split} split: {shortened(str(error))}"
            raise SpecError(said) from error


def _labels(table: Table) -> Labels:
    """The labels of all rows, without their images."""
    column = table.columns[1]
    if column is None:
        return {split: [None] for split in table.splits}
    found: Labels = {}
    for split, rows in table.splits.items():
        try:
            found[split] = [
                value
                for batch in rows.select_columns([column]).iter(batch_size=ROWS)
                for value in batch[column]
            ]
        except Exception as error:  # of the file
            raise SpecError(
                f"the labels of {shortened(table.origin)} cannot be read: {shortened(str(error))}"
            ) from error
    return found


def _index(
    labels: Labels, names: list[str] | None
) -> tuple[tuple[str, ...] | None, dict[str, Tensor | None]]:
    """Class names and, for each split, indices into them.

    Without `names` (what a ClassLabel column has) the classes are the training labels' values, sorted. A split whose
    labels are all null or −1, as the Hub marks hidden ones, has none.
    """
    known = (
        range(len(names))
        if names is not None
        else sorted({value for value in labels["train"] if value is not None})
    )
    index = {value: k for k, value in enumerate(known)}
    indices: dict[str, Tensor | None] = {}
    for split, values in labels.items():
        strange = [value for value in values if value not in index]
        if set(values) <= {None, -1}:
            indices[split] = None
        elif strange:
            raise SpecError(
                f"the label {strange[0]!r} in the {split} split is none of the training set's classes",
                field="label_column",
            )
        else:
            indices[split] = torch.tensor([index[value] for value in values])
    if indices["train"] is None:
        return None, dict.fromkeys(labels)
    return tuple(map(str, names or known)), indices
