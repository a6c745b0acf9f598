"""A run's `checkpoints/`: which of them is to be gone on with, which stay, and the links `last` and `best`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from . import manifest
from .errors import RunError


def steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, ascending."""
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()) if folder.is_dir() else []


def newest_whole(folder: Path, say: Callable[[str], None]) -> int | None:
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
        raise RunError(f"no checkpoint can be gone on with: {'; '.join(damaged)}; without --resume the run starts anew")
    return None


def damage(folder: Path, step: int) -> str:
    """What is wrong with a step's checkpoint; empty where it is as it was written."""
    try:
        manifest.verify(folder / str(step))
    except RunError as error:
        return str(error)
    return ""


def settle(folder: Path, step: int, best: int) -> None:
    """Leave the folder as the process that saved `step` meant to: nothing after it, `last` and `best` where they belong."""
    for later in steps(folder):
        if later > step:
            _remove(folder / str(later))
    point(folder, step, best)


def point(folder: Path, last: int, best: int) -> None:
    """Set the links, and wait until the disk has them."""
    _link(folder, "last", str(last))
    _link(folder, "best", str(best))
    sync(folder)


def prune(folder: Path, keep: Iterable[int]) -> None:
    """Delete the checkpoints that are neither in `keep` nor `last` nor `best`, and what killed processes left half done."""
    stays = {*map(str, keep), *((folder / name).readlink().name for name in ("last", "best") if (folder / name).is_symlink())}
    for entry in list(folder.iterdir()):
        if entry.name.startswith(".") and entry.is_symlink():
            entry.unlink()
        elif entry.is_dir() and not entry.is_symlink() and entry.name not in stays:
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
    beside.symlink_to(target)
    beside.replace(folder / name)
