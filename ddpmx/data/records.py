"""The rows of a tabular data set: its splits, its columns of images and labels, and reading them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SpecError, nearest
from ..files import read_bytes, resolved
from ..text import shortened

if TYPE_CHECKING:
    from datasets import IterableDataset

SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
"""The split that each published name means."""
BATCH = 1000
"""Rows that are read at a time."""
MAX_IMAGE = 500_000_000
"""Largest image file that a row may refer to, in bytes."""
_ON_HUB = re.compile(r"((zip|tar|gzip)://[^:]*::)?hf://datasets/[^:]+")

Labels = dict[str, list[Any]]
"""The values in the column of labels, by split."""


@dataclass(frozen=True)
class Records:
    """Rows with an encoded image and perhaps a label."""

    origin: str
    """The file, folder or repository, for messages."""
    splits: dict[str, IterableDataset]
    """The rows of train, and perhaps of validation and test."""
    columns: tuple[str, str | None]
    """The column of images, and that of labels, if any."""
    class_names: list[str] | None
    """Names of the classes if the column of labels stores them."""
    total: int | None
    """Number of all rows, if known."""
    counts: Mapping[str, int]
    """Number of rows in each split, as far as known."""
    left_out: tuple[str, ...]
    """What is not used, and why: one phrase each."""

    def row_name(self, split: str, number: int) -> str:
        """A row's name in messages."""
        return f"row {number} of the {split} split of {shortened(self.origin)}"


def select(
    origin: str,
    total: int | None,
    published: Mapping[str, IterableDataset],
    counts: Mapping[str, int],
    columns: tuple[str | None, str | None],
) -> Records:
    """Choose splits and columns. `columns` are those that the user named; None: chosen by type and name.

    Raises SpecError if there is no training split, if two splits mean the same, or if a column is missing.
    """
    names: dict[str, str] = {}
    for name in map(str, published):
        split = SPLITS.get(name.lower())
        if split in names:
            raise SpecError(
                f"{shortened(origin)} has two {split} splits: {names[split]} and {shortened(name)}",
                field="path",
                hint="remove or rename one of them",
            )
        if split:
            names[split] = name
    if "train" not in names and len(published) == 1:
        names = {"train": str(next(iter(published)))}
    if "train" not in names:
        existing = shortened(", ".join(map(str, published)))
        raise SpecError(f"{shortened(origin)} has no split 'train'; its splits are: {existing}")
    by_name = {str(name): rows for name, rows in published.items()}
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
                f"the {split} split of {shortened(origin)} has no column '{missing[0]}',"
                " which the train split has",
                field="path",
            )
    return Records(
        origin,
        {split: by_name[name] for split, name in names.items()},
        (image, label),
        getattr(features[label], "names", None) if label else None,
        total,
        {split: counts[name] for split, name in names.items() if name in counts},
        left_out,
    )


def published_counts(splits: Mapping[str, IterableDataset]) -> dict[str, int]:
    """The number of rows of each split, as far as the Hub publishes it."""
    counts: dict[str, int] = {}
    for name, rows in splits.items():
        infos = rows.info.splits or {}
        count = infos[name].num_examples if name in infos else None
        if count:
            counts[str(name)] = int(count)
    return counts


def read_rows(
    records: Records, source: Path | None, first: int | None = None
) -> Iterator[tuple[str, int, bytes, object]]:
    """Split, number, encoded image and label of each row, or of the `first` rows of each split."""
    import datasets

    image, label = records.columns
    for split, rows in records.splits.items():
        number = 0
        try:
            batches = rows.cast_column(image, datasets.Image(decode=False)).iter(
                batch_size=min(BATCH, first or BATCH)
            )
            for batch in batches if first is None else islice(batches, 1):
                for k, cell in enumerate(batch[image]):
                    if cell is None:
                        raise SpecError(f"{records.row_name(split, number)} has no image")
                    encoded = cell["bytes"] or _linked_image(cell["path"], source)
                    yield split, number, encoded, batch[label][k] if label else None
                    number += 1
        except SpecError:
            raise
        except Exception as error:  # files and the network raise types without a common base
            raise SpecError(
                f"{shortened(records.origin)} cannot be read after row {number} of its {split} split:"
                f" {shortened(str(error))}"
            ) from error


def read_labels(records: Records) -> Labels:
    """The labels of all rows, without reading the images."""
    column = records.columns[1]
    if column is None:
        return {split: [None] for split in records.splits}
    labels: Labels = {}
    for split, rows in records.splits.items():
        try:
            labels[split] = [
                value
                for batch in rows.select_columns([column]).iter(batch_size=BATCH)
                for value in batch[column]
            ]
        except Exception as error:  # damaged files raise types without a common base
            raise SpecError(
                f"the labels of {shortened(records.origin)} cannot be read: {shortened(str(error))}"
            ) from error
    return labels


def _columns(features: Mapping[str, object], image: str | None, label: str | None) -> tuple[str, str | None]:
    """The columns of images and labels: as named, else the first of the right type, else by common names."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    for field, column in (("image_column", image), ("label_column", label)):
        if column is not None and column not in features:
            raise SpecError(f"no column '{column}' in the data", field=field, hint=nearest(column, features))
    image = image or next(
        (name for name in [*(n for n in kinds if kinds[n] == "Image"), "image", "img"] if name in kinds), None
    )
    if image is None:
        raise SpecError(
            f"none of the columns holds images: {', '.join(features)}",
            field="image_column",
            hint="set `image_column` to the column of encoded images",
        )
    if label is not None and kinds[label] not in ("ClassLabel", "Value"):
        raise SpecError(f"the column '{label}' should hold one label in each row", field="label_column")
    if label is None:
        label = next(
            (name for name in kinds if kinds[name] == "ClassLabel"),
            "label" if kinds.get("label") == "Value" else None,
        )
    return image, label


def _linked_image(path: str, source: Path | None) -> bytes:
    """The image file that a row refers to: a file below `source`, or on the Hub.

    Any other path is rejected, since the rows may come from a stranger.
    """
    import fsspec  # type: ignore[import-untyped, unused-ignore]

    if source is None:
        if not _ON_HUB.fullmatch(path):
            raise SpecError(f"a row refers to an image outside its repository: {path}")
        with fsspec.open(path) as file:
            return bytes(file.read())
    file_path = resolved(source / path)
    if not file_path.is_relative_to(source if source.is_dir() else source.parent):
        raise SpecError(f"a row refers to an image outside {source}: {path}")
    return read_bytes(file_path, MAX_IMAGE)
