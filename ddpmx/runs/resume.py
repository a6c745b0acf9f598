"""Finds the run that `--resume` continues, and locks a run's folder for one process."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError, SpecError
from ..spec.schema import Spec, difference
from ..storage.checkpoint import counters
from ..storage.checkpoint_folder import find
from ..storage.folder import RunFolder
from ..training.state import is_over
from . import changed_plugins
from .known_runs import comparable, readable_runs, recorded_spec

MAY_DIFFER = ("train.epochs", "train.steps", "train.patience", "track")
"""Fields of a spec that may be changed when its run is resumed."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The request to resume a run instead of starting a new one."""

    run: Path | None = None
    """The run. None: the spec's newest unfinished run, or a new one if there is none."""
    allow_changed_data: bool = False
    """Whether to resume even if the run's data have changed since; the run's folder records the change."""


def find_previous(spec: Spec, out: Path, named: Path | None) -> Path | None:
    """The named run, or the newest unfinished run of the same spec; None if there is none.

    Raises SpecError, placed at the first differing field, if the named run's spec differs in more than
    MAY_DIFFER, or if only its plugins were edited and --allow-changed-plugins is not given. Also raises it
    for a named run that shares the training of another one.
    """
    wanted = comparable(spec)
    if named is not None:
        if RunFolder(named).shared is not None:
            text = f"{named} has no training to resume: it shares that of {RunFolder(named).training.path}"
            raise SpecError(text, field="--run", hint="resume that run, or run the sweep again")
        differing = _differing(recorded_spec(RunFolder(named)), wanted)
        if differing == ["plugins"] and changed_plugins.changes(spec, RunFolder(named)):
            changed_plugins.refuse(spec, RunFolder(named))
        elif differing:
            hint = f"only {', '.join(MAY_DIFFER)} and the device may change when a run is resumed"
            message = f"differs from the run {named}; differing fields: {', '.join(differing)}"
            raise spec.error(differing[0], message, hint=hint)
        return named
    edited: RunFolder | None = None
    for folder, recorded in readable_runs((out / spec.name).glob("*/spec.yaml")):
        differing = _differing(recorded, wanted)
        shares = folder.shared is not None
        if differing not in ([], ["plugins"]) or shares or _is_finished(folder, spec):
            continue
        if not differing:
            return folder.path
        if edited is None and changed_plugins.changes(spec, folder):
            edited = folder
    if edited is None:
        return None
    changed_plugins.refuse(spec, edited)
    return edited.path


def _differing(recorded: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    """The fields that differ, except those that may."""
    return [field for field in difference(recorded, wanted) if not field.startswith(MAY_DIFFER)]


def _is_finished(folder: RunFolder, spec: Spec) -> bool:
    """Whether the run has finished and the spec's budget does not extend it."""
    last = find(folder.checkpoints, "last")
    if last is None or not folder.is_finished:
        return False
    try:
        return is_over(spec.train, counters(last))
    except RunError:  # a damaged checkpoint: resuming repairs the run or reports what is wrong
        return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes off a run's folder. The system releases the lock if the process dies.

    Raises SpecError if another process has the lock, or if the lock file cannot be written.
    """
    try:
        lock = (path / ".lock").open("wb")
    except OSError as error:
        raise SpecError(f"the run folder {path} cannot be written: {error.strerror}") from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpecError(f"another process is working on {path}") from None
        yield


def wait_until_free(path: Path, seconds: float = 60.0) -> None:
    """Wait until no process works on the run's folder, at most `seconds`.

    A point of a sweep that was just terminated may still be saving.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with locked(path):
                return
        except SpecError:
            time.sleep(0.2)
