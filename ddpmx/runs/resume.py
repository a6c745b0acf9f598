"""Which run `--resume` goes on with, and the lock that keeps two processes off one folder."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ..errors import RunError, SpecError
from ..spec.schema import Spec, difference
from ..storage.checkpoint import counters
from ..storage.checkpoint_folder import find
from ..storage.folder import RunFolder, fingerprinted
from ..terminal.console import warn
from ..training.state import is_over
from . import changed_plugins

MAY_DIFFER = ("train.epochs", "train.steps", "train.patience", "track")


@dataclass(frozen=True, slots=True)
class Resume:
    """How to resume instead of starting a new run."""

    run: Path | None = None
    """None: the newest unfinished run of the spec; where there is none, a new one starts."""
    allow_changed_data: bool = False
    """Although the run's data have changed since, which its folder then says."""


def find_previous(spec: Spec, out: Path, named: Path | None) -> Path | None:
    """The named run, or the newest unfinished run of the same spec; None when there is none.

    Raises SpecError, placed at the first differing field, when the named run's spec differs in more than MAY_DIFFER, and where only
    the content of plugins has changed without leave.
    """
    wanted = _wanted(spec)
    if named is not None:
        differing = _differing(_had(RunFolder(named)), wanted)
        if differing == ["plugins"] and changed_plugins.changes(spec, RunFolder(named)):
            changed_plugins.refuse(spec, RunFolder(named))
        elif differing:
            hint = f"a resumed run may differ in {', '.join(MAY_DIFFER)} and the device"
            message = f"the run {named} has another value here (differing: {', '.join(differing)})"
            raise spec.error(differing[0], message, hint=hint)
        return named
    edited: RunFolder | None = None
    for folder, had in _readable((out / spec.name).glob("*/spec.yaml")):
        differing = _differing(had, wanted)
        if differing not in ([], ["plugins"]) or _is_finished(folder, spec):
            continue
        if not differing:
            return folder.path
        if edited is None and changed_plugins.changes(spec, folder):
            edited = folder
    if edited is None:
        return None
    changed_plugins.refuse(spec, edited)
    return edited.path


def finished_runs(specs: Iterable[Spec], out: Path) -> dict[str, Path]:
    """By a spec's name the newest finished run below `out`, in a sweep or not, that equals it in all but `name` and `track`."""
    found: dict[str, Path] = {}
    for folder, had in _readable([*out.glob("*/*/spec.yaml"), *out.glob("*/*/*/spec.yaml")], finished=True):
        found.setdefault(_computed(had), folder.path)
    keys = {spec.name: _computed(_wanted(spec)) for spec in specs}
    return {name: found[key] for name, key in keys.items() if key in found}


def unfinished_run(spec: Spec, out: Path) -> Path | None:
    """The newest run `<out>/<name>/…` of this very spec, its budget included, that has not finished."""
    wanted = _computed(_wanted(spec))
    for folder, had in _readable((out / spec.name).glob("*/spec.yaml"), finished=False):
        if _computed(had) == wanted:
            return folder.path
    return None


def _readable(
    files: Iterable[Path], finished: bool | None = None
) -> Iterator[tuple[RunFolder, dict[str, object]]]:
    """The runs whose spec.yaml these are, the newest first, with their specs; all, or those that have finished, or have not.

    One that cannot be read (a foreign spec.yaml, a plugin that is gone, a link out of it) is reported and left out.
    """
    for file in sorted(files, key=_age):
        try:
            folder = RunFolder(file.parent)
            if finished is None or finished == folder.is_finished:
                had = _had(folder)
            else:
                continue
        except SpecError as error:
            warn(f"the run {file.parent} is left out: {error}")
            continue
        yield folder, had


def _age(file: Path) -> float:
    """Smaller is newer. A link that leads nowhere is the oldest."""
    try:
        return -file.stat().st_mtime
    except OSError:
        return 0.0


def _computed(resolved: Mapping[str, object]) -> str:
    """All of a resolved spec that decides what its run computes."""
    return json.dumps({**resolved, "name": None, "track": None}, sort_keys=True)


def _wanted(spec: Spec) -> dict[str, object]:
    """A resolved spec with plugins as content hashes, as runs are compared by."""
    return fingerprinted(spec.resolved(), Path.cwd())


def _had(folder: RunFolder) -> dict[str, object]:
    """A run's resolved spec, with the defaults of fields that are newer than the run."""
    had = folder.resolved()
    with suppress(ValidationError):  # of a plugin of its own, say: it is told by the comparison
        had = {
            **fingerprinted(Spec.model_validate(folder.spec_data()).resolved(), folder.path),
            "plugins": had["plugins"],
        }
    return had


def _differing(had: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    return [field for field in difference(had, wanted) if not field.startswith(MAY_DIFFER)]


def _is_finished(folder: RunFolder, spec: Spec) -> bool:
    """Finished, and the spec's budget asks for no more."""
    last = find(folder.checkpoints, "last")
    if last is None or not folder.is_finished:
        return False
    try:
        return is_over(spec.train, counters(last))
    except RunError:  # there is something to mend
        return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process on a run's folder at a time; the system frees the lock of a dead one. Raises SpecError if it is held or cannot be."""
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
    """Return once no process works on the run's folder, or after `seconds`: the point of a sweep that died may still be saving."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with locked(path):
                return
        except SpecError:
            time.sleep(0.2)
