"""The parquet files of a local data set: found, hashed, counted, and opened with `datasets`."""

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

METADATA = ("README.md", "dataset_infos.json", ".huggingface.yaml")
"""Files in which a repository describes its splits and columns."""
PLAIN = re.compile(r"[\w./ ,@+=()~-]*")
"""Paths that `datasets` reads literally. It takes others for patterns or URLs, or cannot print them."""
BLOCK = 1 << 20
"""Bytes read at a time."""


@dataclass(frozen=True)
class Opened:
    """Opened parquet files."""

    splits: Mapping[str, IterableDataset]
    """The rows of each split, by the names that `datasets` gives."""
    counts: Mapping[str, int]
    """Number of rows of each split, as far as known."""
    unused: list[str]
    """Files that belong to no split."""


def parquet_files(source: Path) -> list[Path]:
    """All parquet files below a folder, sorted, without hidden ones; or the given file.

    Raises SpecError if there are none, and for a pipe, a device or a broken link.
    """
    source_kind = kind(source)
    if source_kind == "file":
        return [source]
    if source_kind == "other":
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
            actual = "a broken link" if kind(file) == "missing" else "a pipe, a socket or a device"
            raise SpecError(f"{shortened(str(file))} is {actual}, not a parquet file", field="path")
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
    """The number of rows of a file. Raises SpecError if it is not a whole parquet file."""
    import pyarrow.parquet  # type: ignore[import-untyped, unused-ignore]

    try:
        with open_regular(file) as content:
            return int(pyarrow.parquet.read_metadata(content).num_rows)
    except (OSError, ValueError) as error:
        raise SpecError(
            f"{shortened(str(file))} cannot be read as parquet: {shortened(str(error))}", field="path"
        ) from error


def load_files(source: Path, config: str | None, scratch: Path) -> Opened:
    """Open the files with the `datasets` library, which finds the splits by file names or by the README.

    `config` is a folder in `source`, or a configuration in the README. Raises SpecError for whatever the
    library rejects.
    """
    import datasets

    if config and kind(source / config) == "folder":  # the folder of a configuration, as on the Hub
        source, config = source / config, None
    try:
        is_folder = kind(source) == "folder"
        plain = _plain_path(source, scratch)
        if is_folder:
            builder = datasets.load_dataset_builder(str(plain), config, cache_dir=str(scratch / "built"))
        else:
            builder = datasets.load_dataset_builder(
                "parquet", data_files=str(plain), cache_dir=str(scratch / "built")
            )
        rows = builder.as_streaming_dataset()
        files = builder.config.data_files or {}
        counts = {
            str(split): sum(count_rows(Path(file)) for file in files[split])
            for split in rows
            if split in files
        }
        used = {os.path.realpath(file) for split in files for file in files[split]}
        unused = (
            [
                str(file.relative_to(source))
                for file in parquet_files(source)
                if os.path.realpath(file) not in used
            ]
            if is_folder
            else []
        )
    except (OSError, ValueError) as error:
        raise SpecError(
            f"{shortened(str(source))} cannot be read: {shortened(str(error))}", field="path"
        ) from error
    return Opened(rows, counts, unused)


def _plain_path(source: Path, scratch: Path) -> Path:
    """The source itself if its paths are PLAIN; otherwise a temporary folder of links with plain names."""
    files = parquet_files(source)
    if all(PLAIN.fullmatch(str(file)) for file in (source, *files)):
        return source
    candidates = (str(scratch), tempfile.gettempdir(), "/tmp")
    parent = next((folder for folder in candidates if PLAIN.fullmatch(folder)), None)
    if parent is None:
        raise SpecError(
            f"the path {shortened(str(source))} has special characters, so it must be read through links"
            " in a temporary folder, but the paths of all temporary folders have special characters too",
            field="path",
            hint="set DDPMX_CACHE to a folder whose path has only letters, digits and spaces",
        )
    root = Path(tempfile.mkdtemp(prefix="links-", dir=parent))
    if source in files:
        return _link(root, "train.parquet", source)
    for name, file in zip(_plain_names(source, files), files, strict=True):
        _link(root, name, file)
    for name in METADATA:
        if kind(source / name) == "file":
            _link(root, name, source / name)
    return root


def _plain_names(source: Path, files: list[Path]) -> Iterator[str]:
    """A unique plain name for each file, in the same order."""
    taken: set[str] = set()
    for number, file in enumerate(files):
        relative = str(file.relative_to(source))
        name = re.sub(r"[^\w./ ,@+=()~-]", "_", relative)
        if name in taken:
            name = f"{name.removesuffix('.parquet')}_{number}.parquet"
        taken.add(name)
        yield name


def _link(root: Path, name: str, target: Path) -> Path:
    link = root / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    return link


def _refuse(error: OSError) -> None:
    raise SpecError(f"the folder {shortened(str(error.filename))} cannot be read: {why(error)}", field="path")
