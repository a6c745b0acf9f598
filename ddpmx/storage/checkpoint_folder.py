"""A run's `checkpoints/`: which one to resume from, which ones to keep, and the links `last` and `best`.

The two links point to a step's folder. In a copied run they may have become folders (zip, `cp -rL`), small
files with the link's text (a checkout on Windows), or be missing. `find` reads all of these, and `normalize`
prepares them to become links again. On a file system without links, they are files that contain the step.
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
"""Names of temporary files that a killed process leaves behind."""


def steps(folder: Path) -> list[int]:
    """Steps with a checkpoint, in ascending order."""
    return sorted(int(entry.name) for entry in folder.iterdir() if _is_step(entry)) if folder.is_dir() else []


def last_step(folder: Path) -> int | None:
    """The step of the checkpoint `last`; None if there is none."""
    last = find(folder, "last")
    return None if last is None else int(last.name) if _is_step(last) else _step_of(last)


def find(folder: Path, name: str) -> Path | None:
    """The folder of the checkpoint `last` or `best`, if possible the numbered one; None if there is none."""
    link = folder / name
    if link.is_symlink() and link.is_dir():
        return folder / Path(os.path.realpath(link)).name
    if link.is_dir() and (step := _step_of(link)) is not None:
        numbered = folder / str(step)
        return numbered if numbered.is_dir() else link
    if (
        not link.is_symlink()
        and link.is_file()
        and (step := _step_in_file(link)) is not None
        and (folder / str(step)).is_dir()
    ):
        return folder / str(step)
    known = steps(folder)
    for step in reversed(known):  # no usable link: the newest readable checkpoint knows which is the best
        try:
            best = manifest.read(folder / str(step))["train"].get("best_step", -1)
        except RunError:
            continue
        checkpoint = folder / str(step if name == "last" or best < 0 else best)
        return checkpoint if checkpoint.is_dir() else None
    return folder / str(known[-1]) if known else None  # all damaged; whoever loads this one reports it


def normalize(folder: Path) -> None:
    """Replace folders named `last` and `best`, as in a copied run, by numbered ones, without duplicates."""
    for name in NAMES:
        copy = folder / name
        if copy.is_symlink() or not copy.is_dir():
            continue
        step = _step_of(copy)
        if step is None or (_damage(copy) and (folder / str(step)).exists()):
            copy.rename(folder / f"{name}-damaged-{os.getpid()}")
        elif not (folder / str(step)).exists():
            copy.rename(folder / str(step))
        elif damage(folder, step):
            _remove(folder / str(step))
            copy.rename(folder / str(step))
        else:
            _remove(copy)


def newest_intact(folder: Path, say: Callable[[str], None]) -> int | None:
    """The newest step with an undamaged checkpoint; None if there are no checkpoints.

    Newer ones, which are damaged, are reported through `say`. Raises RunError if all are damaged.
    """
    damaged: list[str] = []
    for step in reversed(steps(folder)):
        problem = damage(folder, step)
        if not problem:
            for newer in damaged:
                say(f"warning: {newer}; resuming from the checkpoint of step {step}")
            return step
        damaged.append(problem)
    if damaged:
        raise RunError(
            f"no checkpoint can be resumed from: {'; '.join(damaged)}; leave out --resume to start a new run"
        )
    return None


def damage(folder: Path, step: int) -> str:
    """What is wrong with a step's checkpoint; empty if it is intact."""
    return _damage(folder / str(step))


def roll_back(folder: Path, step: int, best: int) -> None:
    """Restore the folder's state as of `step`: delete later checkpoints and set both links."""
    delete(folder, lambda other: other > step)
    set_links(folder, step, best)


def delete(folder: Path, unwanted: Callable[[int], bool]) -> None:
    """Delete the steps' folders that are unwanted."""
    for step in steps(folder):
        if unwanted(step):
            _remove(folder / str(step))


def set_links(folder: Path, last: int, best: int) -> None:
    """Point `last` and `best` to these steps, and wait until that is on disk."""
    _link(folder, "last", str(last))
    _link(folder, "best", str(best))
    sync(folder)


def prune(folder: Path, keep: Iterable[int]) -> None:
    """Delete checkpoints that are neither in `keep` nor linked, and temporary files of killed processes."""
    linked = (find(folder, name) for name in NAMES)
    kept = {*map(str, keep), *(checkpoint.name for checkpoint in linked if checkpoint is not None)}
    for entry in list(folder.iterdir()):
        is_litter = _LITTER.fullmatch(entry.name)
        if is_litter and not (entry.is_dir() and not entry.is_symlink()):
            entry.unlink()
        elif is_litter or (_is_step(entry) and entry.name not in kept):
            _remove(entry)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(checkpoint: Path) -> None:
    """Delete a checkpoint, renaming it first so that a process killed here leaves no partial one."""
    aside = checkpoint.with_name(f".{checkpoint.name.removeprefix('.')}.old")
    if aside != checkpoint:
        shutil.rmtree(aside, ignore_errors=True)  # left by a process that was killed here
        checkpoint.rename(aside)
    shutil.rmtree(aside)


def _link(folder: Path, name: str, target: str) -> None:
    temporary = folder / f".{name}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(target)
    except (OSError, NotImplementedError):  # a file system without links
        temporary.write_text(f"{target}\n", encoding="ascii")
    temporary.replace(folder / name)


def _is_step(entry: Path) -> bool:
    return bool(_STEP.fullmatch(entry.name)) and entry.is_dir() and not entry.is_symlink()


def _step_of(checkpoint: Path) -> int | None:
    """The step that a checkpoint's counters give; None if they are damaged."""
    try:
        return int(manifest.read(checkpoint)["train"]["step"])
    except RunError:
        return None


def _step_in_file(file: Path) -> int | None:
    """The step written in a file that replaces a link; None if it contains no step."""
    try:
        text = read_text(file, 100).strip()
    except SpecError:
        return None
    return int(text) if _STEP.fullmatch(text) else None


def _damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint's folder; empty if it is intact."""
    try:
        manifest.verify(checkpoint)
    except RunError as error:
        return str(error)
    return ""
