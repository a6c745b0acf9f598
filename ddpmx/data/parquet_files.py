"""The parquet files of a data set on a disk: found, hashed, counted, and handed to the `datasets` library."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SpecError
from ..files import kind, open_regular, why
from ..text import shortened

if TYPE_CHECKING:
    from datasets import IterableDataset

ABOUT = ("README.md", "dataset_infos.json", ".huggingface.yaml")
"""Files in which a repository describes its splits and columns."""
PLAIN = re.compile(r"[\w./ ,@+=()~-]*")
"""Paths that `datasets` takes as they are; in others it sees patterns or addresses, or cannot print them."""
BLOCK = 1 << 20
"""Bytes read at a time."""


@dataclass(frozen=True)
class Opened:
    """The rows of each split as `datasets` names them, and how many there are where that is known."""

    splits: Mapping[str, IterableDataset]
    counts: Mapping[str, int]
    unused: list[str]
    """Files that are in no split."""


def parquet_files(source: Path) -> list[Path]:
    """All parquet files in a folder, sorted, or the one that is named; hidden ones are left out.

    Raises SpecError where there are none, and for one that is a pipe, a device or a link to nothing.
    """
    what = kind(source)
    if what == "file":
        return [source]
    if what == "other":
        raise SpecError(
            f"{shortened(str(source))} is a pipe or a device, not a folder of parquet files", field="path"
        )
    files = []
    for folder, folders, names in os.walk(source, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [
            Path(folder, name) for name in names if name.endswith(".parquet") and not name.startswith(".")
        ]
    if not files:
        raise SpecError(f"no parquet files in {shortened(str(source))}", field="path")
    for file in files:
        if kind(file) != "file":
            found = "a link to nothing" if kind(file) == "missing" else "a pipe, a socket or a device"
            raise SpecError(f"{shortened(str(file))} is {found}, not a parquet file", field="path")
    return sorted(files)


def file_hash(file: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open_regular(file) as content:
        try:
            while block := content.read(BLOCK):
                digest.update(block)
            return digest.hexdigest()
        except OSError as error:
            raise SpecError(f"{shortened(str(file))} cannot be read: {why(error)}", field="path") from None


def count_rows(file: Path) -> int:
    """Its rows. Raises SpecError for a file that is not parquet, or only half of one."""
    import pyarrow.parquet  # type: ignore[import-untyped, unused-ignore]

    try:
        with open_regular(file) as content:
            return int(pyarrow.parquet.read_metadata(content).num_rows)
    except (OSError, ValueError) as error:
        raise SpecError(
            f"{shortened(str(file))} cannot be read as parquet: {shortened(str(error))}", field="path"
        ) from error


def load_files(source: Path, config: str | None, scratch: Path) -> Opened:
    """The rows of the files, split as the `datasets` library splits them by their names or by the README.

    `config` names a folder of `source`, or a configuration in the README. Raises SpecError for what the library refuses.
    """
    import datasets

    if config and kind(source / config) == "folder":  # a configuration's folder in the Hub's layout
        source, config = source / config, None
    try:
        whole = kind(source) == "folder"
        plain = _plain(source, scratch)
        if whole:
            builder = datasets.load_dataset_builder(str(plain), config, cache_dir=str(scratch / "built"))
        else:
            builder = datasets.load_dataset_builder(
                "parquet", data_files=str(plain), cache_dir=str(scratch / "built")
            )
        rows = builder.as_streaming_dataset()
        listed = builder.config.data_files or {}
        counts = {
            str(split): sum(count_rows(Path(file)) for file in listed[split])
            for split in rows
            if split in listed
        }
        used = {os.path.realpath(file) for split in listed for file in listed[split]}
        unused = (
            [
                str(file.relative_to(source))
                for file in parquet_files(source)
                if os.path.realpath(file) not in used
            ]
            if whole
            else []
        )
    except (OSError, ValueError) as error:
        raise SpecError(
            f"{shortened(str(source))} cannot be read: {shortened(str(error))}", field="path"
        ) from error
    return Opened(rows, counts, unused)


def _plain(source: Path, scratch: Path) -> Path:
    """The source, or links to its files below a folder whose name holds nothing that `datasets` reads as a pattern."""
    files = parquet_files(source)
    if all(PLAIN.fullmatch(str(file)) for file in (source, *files)):
        return source
    place = next(
        (root for root in (str(scratch), tempfile.gettempdir(), "/tmp") if PLAIN.fullmatch(root)), None
    )
    if place is None:
        hint = "DDPMX_CACHE can name a folder whose path has only letters, digits and spaces"
        raise SpecError(
            f"the path {shortened(str(source))} needs a plain one for temporary links",
            field="path",
            hint=hint,
        )
    root = Path(tempfile.mkdtemp(prefix="links-", dir=place))
    if source in files:
        return _link(root, "train.parquet", source)
    for name, file in zip(_plain_names(source, files), files, strict=True):
        _link(root, name, file)
    for about in ABOUT:
        if kind(source / about) == "file":
            _link(root, about, source / about)
    return root


def _plain_names(source: Path, files: list[Path]) -> Iterator[str]:
    """The files' names below the source, in the same order and each once, without what is not plain."""
    taken: set[str] = set()
    for number, file in enumerate(files):
        relative = str(file.relative_to(source))
        name = re.sub(r"[^\w./ ,@+=()~-]", "_", relative)
        if name in taken:
            name = f"{name.removesuffix('.parquet')}_{number}.parquet"
        taken.add(name)
        yield name


def _link(root: Path, name: str, target: Path) -> Path:
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    return place


def _refuse(error: OSError) -> None:
    raise SpecError(f"the folder {shortened(str(error.filename))} cannot be read: {why(error)}", field="path")
