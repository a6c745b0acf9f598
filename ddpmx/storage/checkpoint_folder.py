"""A run's `checkpoints/`: which of them is to be gone on with, which stay, and `last` and `best`.

Those two are links to a step's folder. A copy of a run may have folders in their place (zip, `cp -rL`), small files that hold the
link's text (a checkout on Windows), or nothing; `find` reads all of these, and `normalize` makes links of them again. Where the file system
has no links, they are files that hold the step.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import RunError, SpecError
from ..files import read_text
from . import manifest

NAMES = ("last", "best")
_STEP = re.compile("[0-9]{1,18}")
_LITTER = re.compile(r"\.([0-9]+|last|best)(\.[0-9]+|\.old)+")
"""What killed processes leave half done."""


def steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, ascending."""
    return sorted(int(entry.name) for entry in folder.iterdir() if _is_step(entry)) if folder.is_dir() else []


def find(folder: Path, name: str) -> Path | None:
    """The checkpoint that is called `last` or `best`, under its number where it has one; None where there is none."""
    place = folder / name
    if place.is_symlink() and place.is_dir():
        return folder / Path(os.path.realpath(place)).name
    if place.is_dir() and (step := _step_of(place)) is not None:
        numbered = folder / str(step)
        return numbered if numbered.is_dir() else place
    if (
        not place.is_symlink()
        and place.is_file()
        and (step := _written_in(place)) is not None
        and (folder / str(step)).is_dir()
    ):
        return folder / str(step)
    known = steps(folder)
    for step in reversed(known):
        try:
            best = manifest.read(folder / str(step))["train"].get("best_step", -1)
        except RunError:
            continue
        found = folder / str(step if name == "last" or best < 0 else best)
        return found if found.is_dir() else None
    return folder / str(known[-1]) if known else None  # damaged, which whoever reads it says


def normalize(folder: Path) -> None:
    """Where a copy of the run has folders in the place of `last` and `best`, keep each checkpoint once, under its number."""
    for name in NAMES:
        place = folder / name
        if place.is_symlink() or not place.is_dir():
            continue
        step = _step_of(place)
        if step is None or (_damage(place) and (folder / str(step)).exists()):
            place.rename(folder / f"{name}-damaged-{os.getpid()}")
        elif not (folder / str(step)).exists():
            place.rename(folder / str(step))
        elif damage(folder, step):
            _remove(folder / str(step))
            place.rename(folder / str(step))
        else:
            _remove(place)


def newest_intact(folder: Path, say: Callable[[str], None]) -> int | None:
    """The newest step whose checkpoint is as it was written; `say` is told of the damaged ones after it.

    None where there is no checkpoint at all. Raises RunError where all are damaged.
    """
    damaged: list[str] = []
    for step in reversed(steps(folder)):
        problem = damage(folder, step)
        if not problem:
            for earlier in damaged:
                say(f"warning: {earlier}; going on from the checkpoint of step {step}")
            return step
        damaged.append(problem)
    if damaged:
        raise RunError(
            f"no checkpoint can be gone on with: {'; '.join(damaged)}; without --resume the run starts anew"
        )
    return None


def damage(folder: Path, step: int) -> str:
    """What is wrong with a step's checkpoint; empty where it is as it was written."""
    return _damage(folder / str(step))


def roll_back(folder: Path, step: int, best: int) -> None:
    """Leave the folder as the process that saved `step` meant to: nothing after it, `last` and `best` where they belong."""
    for later in steps(folder):
        if later > step:
            _remove(folder / str(later))
    set_links(folder, step, best)


def set_links(folder: Path, last: int, best: int) -> None:
    """Set the links, and wait until the disk has them."""
    _link(folder, "last", str(last))
    _link(folder, "best", str(best))
    sync(folder)


def prune(folder: Path, keep: Iterable[int]) -> None:
    """Delete the checkpoints that are neither in `keep` nor `last` nor `best`, and what killed processes left half done."""
    named = (find(folder, name) for name in NAMES)
    stays = {*map(str, keep), *(found.name for found in named if found is not None)}
    for entry in list(folder.iterdir()):
        is_litter = _LITTER.fullmatch(entry.name)
        if is_litter and not (entry.is_dir() and not entry.is_symlink()):
            entry.unlink()
        elif is_litter or (_is_step(entry) and entry.name not in stays):
            _remove(entry)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(checkpoint: Path) -> None:
    """Delete it; a process killed meanwhile leaves none that is half there."""
    aside = checkpoint.with_name(f".{checkpoint.name.removeprefix('.')}.old")
    if aside != checkpoint:
        shutil.rmtree(aside, ignore_errors=True)  # of a process killed at this
        checkpoint.rename(aside)
    shutil.rmtree(aside)


def _link(folder: Path, name: str, target: str) -> None:
    beside = folder / f".{name}.{os.getpid()}"
    beside.unlink(missing_ok=True)
    try:
        beside.symlink_to(target)
    except (OSError, NotImplementedError):  # a file system without links
        beside.write_text(f"{target}\n", encoding="ascii")
    beside.replace(folder / name)


def _is_step(entry: Path) -> bool:
    return bool(_STEP.fullmatch(entry.name)) and entry.is_dir() and not entry.is_symlink()


def _step_of(checkpoint: Path) -> int | None:
    """None where its counters are damaged."""
    try:
        return int(manifest.read(checkpoint)["train"]["step"])
    except RunError:
        return None


def _written_in(file: Path) -> int | None:
    """The step that a file in the place of a link names; None where it names none."""
    try:
        text = read_text(file, 100).strip()
    except SpecError:
        return None
    return int(text) if _STEP.fullmatch(text) else None


def _damage(checkpoint: Path) -> str:
    try:
        manifest.verify(checkpoint)
    except RunError as error:
        return str(error)
    return ""
