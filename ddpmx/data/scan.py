"""The image files below a folder, and what else lies there."""

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
MOST_NAMED = 5
Place = tuple[int, int]
"""Device and inode of a folder: the same by whatever links it is reached."""


@cache
def suffixes() -> frozenset[str]:
    """Of the files that Pillow decodes, in lower case."""
    from PIL import Image

    Image.init()
    return frozenset(
        suffix for suffix, kind in Image.registered_extensions().items() if kind not in UNREADABLE
    )


class LeftOut:
    """What is not taken and why, counted."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: dict[str, Counter[str]] = {}

    def add(self, reason: str, name: str = "", count: int = 1) -> None:
        """`count` more for a reason, in which `{s}` stands for the s of the plural; `name` is listed."""
        self._counts[reason] += count
        if name:
            self._names.setdefault(reason, Counter())[name] += count

    def update(self, other: LeftOut) -> None:
        self._counts.update(other._counts)
        for reason, names in other._names.items():
            self._names.setdefault(reason, Counter()).update(names)

    def lines(self) -> tuple[str, ...]:
        """Such as `3 files without an image's suffix (.txt, .json)`."""
        return tuple(self._line(reason, count) for reason, count in self._counts.items())

    def _line(self, reason: str, count: int) -> str:
        what = reason.format(s="s" if count > 1 else "")
        names = [
            shortened(name, 40) for name, _ in self._names.get(reason, Counter()).most_common(MOST_NAMED + 1)
        ]
        listed = ", ".join([*names[:MOST_NAMED], *(["…"] if len(names) > MOST_NAMED else [])])
        return f"{count:,} {what}{f' ({listed})' if listed else ''}"


@dataclass
class Listing:
    """What lies in a folder and below it."""

    images: list[Path] = field(default_factory=list)
    """Regular files that Pillow may be able to decode, those of linked folders included; in no order."""
    folders: dict[Place, Path] = field(default_factory=dict)
    """Each folder that was looked into."""
    left_out: LeftOut = field(default_factory=LeftOut)

    def join(self, other: Listing) -> None:
        """Take in another one. Raises SpecError where a folder is in both, as its images would count twice."""
        for place, folder in other.folders.items():
            _refuse_twin(self.folders.get(place), folder)
        self.folders.update(other.folders)
        self.images += other.images
        self.left_out.update(other.left_out)


def scan(folder: Path) -> dict[str, Listing]:
    """What lies below each visible entry of a folder: a sub-folder by its name, the folder's own files by "".

    Links are followed, except those that lead back to a folder above them. Names that start with a dot are hidden, and left
    out. Raises SpecError for a folder that cannot be read, and for one that links reach twice below the same entry.
    """
    own = Listing()
    found = {"": own}
    above = {_place(folder): folder}
    for name, inside in _entries(folder, own, above):
        found[name] = Listing()
        _walk(inside, found[name], above)
    return found


def _walk(folder: Path, listing: Listing, above: dict[Place, Path]) -> None:
    """Everything below a folder. `above`: the folders around it, so that links cannot lead round in a circle."""
    waiting = [(folder, above)]
    while waiting:
        folder, above = waiting.pop()
        place = _place(folder)
        _refuse_twin(listing.folders.get(place), folder)
        listing.folders[place] = folder
        around = {**above, place: folder}
        waiting += [(inside, around) for _, inside in _entries(folder, listing, around)]


def _entries(folder: Path, listing: Listing, above: dict[Place, Path]) -> Iterator[tuple[str, Path]]:
    """The folders in a folder that are to be looked into; its files go into the listing."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise SpecError(
            f"the folder {shortened(str(folder))} cannot be read: {why(error)}", field="path"
        ) from None
    for entry in found:
        is_folder, is_file = _kind(entry)
        if entry.name.startswith("."):
            listing.left_out.add("hidden folder{s}" if is_folder else "hidden file{s}")
        elif is_folder:
            if _place(Path(entry.path)) in above:
                listing.left_out.add("link{s} back to a folder above", entry.name)
            else:
                yield entry.name, Path(entry.path)
        elif not is_file:
            dangling = entry.is_symlink() and not Path(entry.path).exists()
            listing.left_out.add("link{s} to nothing" if dangling else "special file{s}", entry.name)
        elif (suffix := (file := Path(entry.path)).suffix.lower()) in suffixes():
            listing.images.append(file)
        else:
            listing.left_out.add("file{s} without an image's suffix", suffix or "none")


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Whether it is a folder, and a regular file, where links lead; neither for a link in a circle."""
    try:
        return entry.is_dir(), entry.is_file()
    except OSError:
        return False, False


def _place(folder: Path) -> Place:
    try:
        status = folder.stat()
    except OSError as error:
        raise SpecError(
            f"the folder {shortened(str(folder))} cannot be read: {why(error)}", field="path"
        ) from None
    return status.st_dev, status.st_ino


def _refuse_twin(first: Path | None, second: Path) -> None:
    if first is not None:
        raise SpecError(
            f"{shortened(str(first))} and {shortened(str(second))} are the same folder, whose images would count twice",
            field="path",
            hint="remove the link",
        )
