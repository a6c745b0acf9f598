"""Searching a folder for image files, with an account of everything else in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..errors import SpecError
from ..files import why
from ..text import shortened

UNREADABLE = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PALM", "PDF", "WMF"}
"""Formats whose pixels Pillow does not decode itself; for EPS it would run another program."""
MAX_NAMES = 5
"""How many names are listed for each reason."""
FolderId = tuple[int, int]
"""Device and inode of a folder, which identify it whatever links lead to it."""


@cache
def suffixes() -> frozenset[str]:
    """File suffixes, in lower case, of the formats that Pillow decodes."""
    from PIL import Image

    Image.init()
    return frozenset(
        suffix for suffix, kind in Image.registered_extensions().items() if kind not in UNREADABLE
    )


class LeftOut:
    """Counts of what is left out, by reason."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: dict[str, Counter[str]] = {}

    def add(self, reason: str, name: str = "", count: int = 1) -> None:
        """Count `count` more for a reason, whose `{s}` becomes the plural s; `name` is listed with it."""
        self._counts[reason] += count
        if name:
            self._names.setdefault(reason, Counter())[name] += count

    def update(self, other: LeftOut) -> None:
        """Add the counts of another one."""
        self._counts.update(other._counts)
        for reason, names in other._names.items():
            self._names.setdefault(reason, Counter()).update(names)

    def lines(self) -> tuple[str, ...]:
        """One phrase for each reason, such as `3 files without an image suffix (.txt, .json)`."""
        return tuple(self._line(reason, count) for reason, count in self._counts.items())

    def _line(self, reason: str, count: int) -> str:
        what = reason.format(s="s" if count > 1 else "")
        names = [
            shortened(name, 40) for name, _ in self._names.get(reason, Counter()).most_common(MAX_NAMES + 1)
        ]
        listed = ", ".join([*names[:MAX_NAMES], *(["…"] if len(names) > MAX_NAMES else [])])
        return f"{count:,} {what}{f' ({listed})' if listed else ''}"


@dataclass
class Listing:
    """The content of a folder and its sub-folders."""

    images: list[Path] = field(default_factory=list)
    """Regular files that Pillow may be able to decode, in no particular order."""
    folders: dict[FolderId, Path] = field(default_factory=dict)
    """Each folder that was searched."""
    left_out: LeftOut = field(default_factory=LeftOut)
    """Everything else."""

    def join(self, other: Listing) -> None:
        """Add another listing. Raises SpecError if a folder is in both: its images would count twice."""
        for folder_id, folder in other.folders.items():
            _refuse_duplicate(self.folders.get(folder_id), folder)
        self.folders.update(other.folders)
        self.images += other.images
        self.left_out.update(other.left_out)


def scan(folder: Path) -> dict[str, Listing]:
    """The content of each sub-folder, by its name; "" is for the files directly in the folder.

    Links are followed, except those to a folder that contains them. Hidden files and folders, whose names
    start with a dot, are left out. Raises SpecError for a folder that cannot be read, and for one that a
    sub-folder contains twice because of links.
    """
    files = Listing()
    listings = {"": files}
    parents = {_folder_id(folder): folder}
    for name, subfolder in _entries(folder, files, parents):
        listings[name] = Listing()
        _walk(subfolder, listings[name], parents)
    return listings


def _walk(folder: Path, listing: Listing, parents: dict[FolderId, Path]) -> None:
    """Add everything below a folder to `listing`. `parents` contain it, so links to them are not followed."""
    waiting = [(folder, parents)]
    while waiting:
        folder, parents = waiting.pop()
        folder_id = _folder_id(folder)
        _refuse_duplicate(listing.folders.get(folder_id), folder)
        listing.folders[folder_id] = folder
        parents = {**parents, folder_id: folder}
        waiting += [(subfolder, parents) for _, subfolder in _entries(folder, listing, parents)]


def _entries(folder: Path, listing: Listing, parents: dict[FolderId, Path]) -> Iterator[tuple[str, Path]]:
    """The sub-folders to search, by name. The folder's own files are added to the listing."""
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        raise SpecError(
            f"the folder {shortened(str(folder))} cannot be read: {why(error)}", field="path"
        ) from None
    for entry in entries:
        is_folder, is_file = _kind(entry)
        if entry.name.startswith("."):
            listing.left_out.add("hidden folder{s}" if is_folder else "hidden file{s}")
        elif is_folder:
            if _folder_id(Path(entry.path)) in parents:
                listing.left_out.add("link{s} to a parent folder", entry.name)
            else:
                yield entry.name, Path(entry.path)
        elif not is_file:
            dangling = entry.is_symlink() and not Path(entry.path).exists()
            listing.left_out.add("broken link{s}" if dangling else "special file{s}", entry.name)
        elif (suffix := (file := Path(entry.path)).suffix.lower()) in suffixes():
            listing.images.append(file)
        else:
            listing.left_out.add("file{s} without an image suffix", suffix or "none")


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Whether a folder, and whether a regular file, links followed; neither for a circular link."""
    try:
        return entry.is_dir(), entry.is_file()
    except OSError:
        return False, False


def _folder_id(folder: Path) -> FolderId:
    try:
        status = folder.stat()
    except OSError as error:
        raise SpecError(
            f"the folder {shortened(str(folder))} cannot be read: {why(error)}", field="path"
        ) from None
    return status.st_dev, status.st_ino


def _refuse_duplicate(first: Path | None, second: Path) -> None:
    if first is not None:
        raise SpecError(
            f"{shortened(str(first))} and {shortened(str(second))} are the same folder,"
            " so its images would count twice",
            field="path",
            hint="remove the link that leads to it",
        )
