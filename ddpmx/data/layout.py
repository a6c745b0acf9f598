"""The layout of an image folder: whether its sub-folders are splits, classes, or neither."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import SpecError
from ..text import listed, shortened
from .scan import LeftOut, Listing, scan

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
"""Accepted folder names for each split, in upper or lower case."""
Reading = Literal["splits", "classes"]
"""What the user says that sub-folders are."""
Listings = dict[str, Listing]
"""The content of each sub-folder, by its name; "" is for files directly in the folder."""
MAX_NAMES = 8
"""How many folders a message names."""


@dataclass(frozen=True)
class Layout:
    """The image files of each split, and their classes."""

    files: dict[str, list[Path]]
    """The image files of each split, sorted."""
    folders: dict[str, Path]
    """The folder of each split."""
    classes: tuple[str, ...] | None
    """Names of the classes, sorted; None without classes."""
    left_out: tuple[str, ...]
    """What is not used, and why: one phrase each."""

    def class_of(self, split: str, file: Path) -> str:
        """The sub-folder of the split's folder that contains a file."""
        return file.relative_to(self.folders[split]).parts[0]


def read_layout(source: Path, reading: Reading | None) -> Layout:
    """Find the images below a folder, and their splits and classes.

    `reading` decides if the sub-folders could be either splits or classes. Raises SpecError if that is
    ambiguous, if there are no images, and for folders that cannot be read.
    """
    if not source.is_dir():
        raise SpecError(
            f"should be a folder of images, but {shortened(str(source))} is not a folder", field="path"
        )
    listings = scan(source)
    splits = {} if reading == "classes" else _splits(source, listings, reading)
    left_out = LeftOut()
    if splits:
        groups = {split: listings.pop(name) for split, name in splits.items()}
        folders = {split: source / name for split, name in splits.items()}
        for name, listing in listings.items():  # the folders that are not splits
            if listing.images:
                left_out.add("image{s} outside the splits", f"{name}/" if name else "", len(listing.images))
        left_out.update(listings[""].left_out)
    else:
        everything = Listing()
        for listing in listings.values():
            everything.join(listing)
        groups, folders = {"train": everything}, {"train": source}
    for split, listing in groups.items():
        left_out.update(listing.left_out)
        if not listing.images:
            skipped = "; left out: " + ", ".join(left_out.lines()) if left_out.lines() else ""
            raise SpecError(
                f"no image files in {shortened(str(folders[split]))}{skipped}",
                field="path",
                hint="image files are known by their suffix, such as .png, .jpg or .webp",
            )
    files = {split: sorted(listing.images) for split, listing in groups.items()}
    classes, reason = _classes(files, folders)
    return Layout(files, folders, classes, (*left_out.lines(), *([reason] if reason else [])))


def _splits(source: Path, listings: Listings, reading: Reading | None) -> dict[str, str]:
    """The folder of each split, by the split's name; empty if all images are training images."""
    named: dict[str, str] = {}
    for split, names in SPLITS.items():
        candidates = [name for name in listings if name.lower() in names]
        if len(candidates) > 1:
            candidates = [name for name in candidates if listings[name].images] or candidates[:1]
        if len(candidates) > 1:
            raise SpecError(
                f"{shortened(str(source))} is ambiguous: each of the folders {_listed(candidates)} could be"
                f" the {split} split",
                field="path",
                hint="merge them, or rename all but one",
            )
        if candidates:
            named[split] = candidates[0]
    others = [
        name for name, listing in listings.items() if name and listing.images and name not in named.values()
    ]
    if reading == "splits":
        if "train" not in named:
            raise SpecError(
                f"`layout: splits` needs a folder 'train', and {shortened(str(source))} has none",
                field="layout",
            )
        return named
    if "train" in named and (len(named) > 1 or not others):
        return named
    used = {split: name for split, name in named.items() if split == "train" or listings[name].images}
    if not used:
        return {}
    as_classes = _listed(sorted([*others, *used.values()]))
    as_splits = (
        f"the training images are in {used['train']}, and {_listed(others)} left out"
        if "train" in used
        else f"only {_listed([*used.values()])}"
    )
    raise SpecError(
        f"the folders in {shortened(str(source))} could be splits ({as_splits}) or classes ({as_classes})",
        field="path",
        hint="set `layout: splits` or `layout: classes` in the spec's `dataset` block",
    )


def _classes(files: dict[str, list[Path]], folders: dict[str, Path]) -> tuple[tuple[str, ...] | None, str]:
    """The sub-folders as classes, if there are two or more and each image is in one; otherwise None and why.

    The reason is empty if the folder does not look as if it had classes.
    """
    classes: tuple[str, ...] = ()
    for split, images in files.items():
        paths = [file.relative_to(folders[split]).parts for file in images]
        loose = sum(len(parts) == 1 for parts in paths)
        names = sorted({parts[0] for parts in paths if len(parts) > 1})
        if loose and len(names) > 1:
            images_are = "images are" if loose > 1 else "image is"
            return (
                None,
                f"all labels, because {loose:,} {split} {images_are} outside the folders {_listed(names)}",
            )
        if split == "train":
            classes = tuple(names)
        unknown = sorted(set(names) - set(classes))
        if classes and unknown:
            return None, f"all labels, because the training images have no folder {_listed(unknown)}"
        if loose or len(names) < 2:
            reason = f"all labels, because the {split} images are in fewer than two folders"
            return None, reason if len(classes) > 1 else ""
    return classes, ""


def _listed(names: list[str]) -> str:
    return listed([shortened(name, 40) for name in names], MAX_NAMES)
