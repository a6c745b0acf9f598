"""Data sets of rows with an encoded image and perhaps a label, read by the `datasets` library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..errors import SpecError
from ..terminal.progress import track
from ..text import shortened
from . import cache, hub
from .base import Images, Undecoded
from .decode import Channels, Decoder
from .divided import Decoded
from .parquet_files import count_rows, file_hash, load_files, parquet_files
from .records import Labels, Records, published_counts, read_labels, read_rows, select
from .stored import Stored, Survey

if TYPE_CHECKING:
    from datasets import IterableDataset

PREVIEWED = 64
"""Number of rows of each split that `look` decodes."""


class Tabular(Stored):
    """Base of data sets in parquet files laid out like a Hub repository, or in a repository on the Hub."""

    repository: ClassVar[str] = ""
    """The repository on the Hub, owner/name."""

    def hub_repository(self) -> hub.Repository | None:
        """The repository on the Hub; None without one."""
        return hub.Repository(self.repository) if self.repository else None

    def columns(self) -> tuple[str | None, str | None]:
        """The columns of images and labels; None: chosen by type and name."""
        return None, None

    def image_shape(self) -> tuple[int | None, Channels]:
        """Size and channels that images are converted to; None: unchanged."""
        return None, None

    def survey(self, source: Path | None) -> Survey:
        """Survey by the content of the parquet files, or by the repository's name."""
        if source is None:
            return Survey([str(self.hub_repository()), self.columns(), self.image_shape()], None)
        files = parquet_files(source)
        key = [[(file.name, file_hash(file)) for file in files], self.columns(), self.image_shape()]
        return Survey(key, None, sum(file.stat().st_size for file in files))

    def decode(self, source: Path | None, survey: Survey) -> Decoded:
        """Decode all rows. Raises SpecError, which names the row or column, for one that cannot be used."""
        with cache.scratch() as scratch:
            records = self._open(source, Path(scratch))
            decoder = Decoder(*self.image_shape())
            labels: Labels = {split: [] for split in records.splits}
            rows = read_rows(records, source)
            progress = track(rows, f"Decoding {self.component_name}", records.total)
            for split, number, encoded, label in progress:
                decoder.add(split, records.row_name(split, number), encoded)
                labels[split].append(label)
        stacks = decoder.stacks()
        empty = next((split for split in records.splits if split not in stacks), None)
        if empty is not None:  # only now known, since the Hub may not publish the number of rows
            raise SpecError(f"the {empty} split of {shortened(records.origin)} has no rows", field="path")
        classes, indices = _class_indices(labels, records.class_names)
        splits = {split: Images(pixels, indices[split]) for split, pixels in stacks.items()}
        return Decoded(splits, classes, records.left_out)

    def preview(self, source: Path | None, survey: Survey) -> Decoded:
        """Decode the first rows of each split, and return as many `Undecoded` images as there are rows."""
        with cache.scratch() as scratch:
            records = self._open(source, Path(scratch))
            decoder = Decoder(*self.image_shape())
            labels: Labels = {split: [] for split in records.splits}
            for split, number, encoded, label in read_rows(records, source, PREVIEWED):
                decoder.add(split, records.row_name(split, number), encoded)
                labels[split].append(label)
            # Without stored names, the classes are all values that occur, even in later rows.
            if source is not None and records.class_names is None:
                labels = read_labels(records)
        stacks = decoder.stacks()
        shape = next(iter(stacks.values())).shape[1:]
        if source is None and records.class_names is None:
            labels["train"] += [label for values in labels.values() for label in values]
        classes, indices = _class_indices(labels, records.class_names)
        left_out = records.left_out
        splits: dict[str, Images] = {}
        for split, pixels in stacks.items():
            count = records.counts.get(split, len(pixels))
            if split not in records.counts:
                unread = (
                    f"all but the first {len(pixels)} rows of the {split} split (their number is unknown)"
                )
                left_out = (*left_out, unread)
            labelled = indices[split] is not None
            zeros = torch.zeros(1, dtype=torch.int64).expand(count) if labelled else None  # [count]
            splits[split] = Undecoded.of(count, shape, zeros)
        return Decoded(splits, classes, left_out)

    def _open(self, source: Path | None, scratch: Path) -> Records:
        repository = self.hub_repository()
        if source is None:
            assert repository is not None  # without a repository, `path` is required
            splits: Mapping[str, IterableDataset] = hub.fetch(
                repository, self.component_name, self.subfolder(), scratch
            )
            counts: Mapping[str, int] = published_counts(splits)
            origin, total, unused = repository.name, None, list[str]()
        else:
            origin, total = str(source), sum(map(count_rows, parquet_files(source)))
            opened = load_files(source, repository.config if repository else None, scratch)
            splits, counts, unused = opened.splits, opened.counts, opened.unused
        records = select(origin, total, splits, counts, self.columns())
        if unused:
            names = shortened(", ".join(unused))
            phrase = f"{len(unused):,} parquet file{'s' * (len(unused) > 1)} in no split ({names})"
            records = replace(records, left_out=(*records.left_out, phrase))
        return records


def _class_indices(
    labels: Labels, names: list[str] | None
) -> tuple[tuple[str, ...] | None, dict[str, Tensor | None]]:
    """Class names and, for each split, indices into them, int64 [n].

    A ClassLabel column has `names`. Without them, the classes are the sorted values of the training labels. A
    split whose labels are all null or −1, which marks hidden labels on the Hub, has no labels.
    """
    values_of_classes = (
        range(len(names))
        if names is not None
        else sorted({value for value in labels["train"] if value is not None})
    )
    index = {value: k for k, value in enumerate(values_of_classes)}
    indices: dict[str, Tensor | None] = {}
    for split, values in labels.items():
        unknown = [value for value in values if value not in index]
        if set(values) <= {None, -1}:
            indices[split] = None
        elif unknown:
            raise SpecError(
                f"the label {unknown[0]!r} in the {split} split is not one of the training set's classes",
                field="label_column",
            )
        else:
            indices[split] = torch.tensor([index[value] for value in values])
    if indices["train"] is None:
        return None, dict.fromkeys(labels)
    return tuple(map(str, names or values_of_classes)), indices
