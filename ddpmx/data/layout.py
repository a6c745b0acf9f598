"""How the folders of an image folder are read: as splits, as classes, or as neither."""

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
"""The names of a split's folder, in any case."""
Reading = Literal["splits", "classes"]
Groups = dict[str, Listing]
MOST_NAMED = 8


@dataclass(frozen=True)
class Layout:
    """The image files of each split, sorted, and what they are labelled with."""

    files: dict[str, list[Path]]
    folders: dict[str, Path]
    """Where each split's images are."""
    classes: tuple[str, ...] | None
    left_out: tuple[str, ...]
    """What was not taken, and why, a phrase each."""

    def class_of(self, split: str, file: Path) -> str:
        """The name of the sub-folder that holds a file."""
        return file.relative_to(self.folders[split]).parts[0]


def read_layout(source: Path, reading: Reading | None) -> Layout:
    """Find the images below a folder, and their splits and classes; `reading` decides where the folders can be read in two ways.

    Raises SpecError where nothing decides, where there are no images, and for what cannot be read.
    """
    if not source.is_dir():
        raise SpecError(f"should be a folder of images: {shortened(str(source))}", field="path")
    found = scan(source)
    splits = {} if reading == "classes" else _splits(source, found, reading)
    left_out = LeftOut()
    if splits:
        groups = {split: found.pop(name) for split, name in splits.items()}
        folders = {split: source / name for split, name in splits.items()}
        for name, listing in found.items():  # what lies beside the splits
            if listing.images:
                left_out.add(
                    "image{s} outside of the splits", f"{name}/" if name else "", len(listing.images)
                )
        left_out.update(found[""].left_out)
    else:
        everything = Listing()
        for listing in found.values():
            everything.join(listing)
        groups, folders = {"train": everything}, {"train": source}
    for split, listing in groups.items():
        left_out.update(listing.left_out)
        if not listing.images:
            said = "; left out: " + ", ".join(left_out.lines()) if left_out.lines() else ""
            raise SpecError(f"no image files in {shortened(str(folders[split]))}{said}", field="path")
    files = {split: sorted(listing.images) for split, listing in groups.items()}
    classes, why = _classes(files, folders)
    return Layout(files, folders, classes, (*left_out.lines(), *([why] if why else [])))


def _splits(source: Path, found: Groups, reading: Reading | None) -> dict[str, str]:
    """The folder of each split, by the split's name; empty where all images train."""
    named: dict[str, str] = {}
    for split, names in SPLITS.items():
        candidates = [name for name in found if name.lower() in names]
        if len(candidates) > 1:
            candidates = [name for name in candidates if found[name].images] or candidates[:1]
        if len(candidates) > 1:
            raise SpecError(
                f"{shortened(str(source))} can be read in two ways: {_listed(candidates)} are each a folder of the {split} split",
                field="path",
                hint="merge or rename them",
            )
        if candidates:
            named[split] = candidates[0]
    others = [
        name for name, listing in found.items() if name and listing.images and name not in named.values()
    ]
    if reading == "splits":
        if "train" not in named:
            raise SpecError(f"there is no folder 'train' in {shortened(str(source))}", field="layout")
        return named
    if "train" in named and (len(named) > 1 or not others):
        return named
    used = {split: name for split, name in named.items() if split == "train" or found[name].images}
    if not used:
        return {}
    as_classes = _listed(sorted([*others, *used.values()]))
    as_splits = (
        f"a training set in {used['train']}, {_listed(others)} left out"
        if "train" in used
        else f"{_listed([*used.values()])} only"
    )
    raise SpecError(
        f"{shortened(str(source))} can be read in two ways: as splits ({as_splits}), or as classes ({as_classes})",
        field="path",
        hint="`layout: splits` or `layout: classes` says which",
    )


def _classes(files: dict[str, list[Path]], folders: dict[str, Path]) -> tuple[tuple[str, ...] | None, str]:
    """The sub-folders of the training images, where each file of each split lies in one of two or more; else why not."""
    classes: tuple[str, ...] = ()
    for split, images in files.items():
        within = [file.relative_to(folders[split]).parts for file in images]
        loose = sum(len(parts) == 1 for parts in within)
        names = sorted({parts[0] for parts in within if len(parts) > 1})
        if loose and len(names) > 1:
            return (
                None,
                f"all labels, as {loose:,} {split} images lie in none of the folders {_listed(names)}",
            )
        if split == "train":
            classes = tuple(names)
        strange = sorted(set(names) - set(classes))
        if classes and strange:
            return None, f"all labels, as the training images have no folder {_listed(strange)}"
        if loose or len(names) < 2:
            why = (
                f"all labels, as the {split} images lie in fewer than two folders" if len(classes) > 1 else ""
            )
            return None, why
    return classes, ""


def _listed(names: list[str]) -> str:
    return listed([shortened(name, 40) for name in names], MOST_NAMED)
