"""Finds the run that `--resume` continues, and locks a run's folder for one process."""

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
    MAY_DIFFER, or if only its plugins were edited and --allow-changed-plugins is not given.
    """
    wanted = _comparable(spec)
    if named is not None:
        differing = _differing(_recorded_spec(RunFolder(named)), wanted)
        if differing == ["plugins"] and changed_plugins.changes(spec, RunFolder(named)):
            changed_plugins.refuse(spec, RunFolder(named))
        elif differing:
            hint = f"only {', '.join(MAY_DIFFER)} and the device may change when a run is resumed"
            message = f"differs from the run {named}; differing fields: {', '.join(differing)}"
            raise spec.error(differing[0], message, hint=hint)
        return named
    edited: RunFolder | None = None
    for folder, recorded in _readable_runs((out / spec.name).glob("*/spec.yaml")):
        differing = _differing(recorded, wanted)
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
    """The newest finished run below `out` of each spec that has one, by the spec's name.

    A run counts if its spec equals the given one except for `name` and `track`, whether or not it is part of
    a sweep.
    """
    runs: dict[str, Path] = {}
    files = [*out.glob("*/*/spec.yaml"), *out.glob("*/*/*/spec.yaml")]
    for folder, recorded in _readable_runs(files, finished=True):
        runs.setdefault(_result_key(recorded), folder.path)
    keys = {spec.name: _result_key(_comparable(spec)) for spec in specs}
    return {name: runs[key] for name, key in keys.items() if key in runs}


def unfinished_run(spec: Spec, out: Path) -> Path | None:
    """The newest unfinished run `<out>/<name>/…` of exactly this spec, including its budget."""
    key = _result_key(_comparable(spec))
    for folder, recorded in _readable_runs((out / spec.name).glob("*/spec.yaml"), finished=False):
        if _result_key(recorded) == key:
            return folder.path
    return None


def _readable_runs(
    files: Iterable[Path], finished: bool | None = None
) -> Iterator[tuple[RunFolder, dict[str, object]]]:
    """The runs of these spec.yaml files with their resolved specs, newest first.

    `finished` selects finished or unfinished runs; None selects both. A run that cannot be read (a foreign
    spec.yaml, a missing plugin, a link out of the folder) is reported and skipped.
    """
    for file in sorted(files, key=_age):
        try:
            folder = RunFolder(file.parent)
            if finished is None or finished == folder.is_finished:
                recorded = _recorded_spec(folder)
            else:
                continue
        except SpecError as error:
            warn(f"the run {file.parent} is skipped: {error}")
            continue
        yield folder, recorded


def _age(file: Path) -> float:
    """A sort key that is smaller for newer files. A broken link counts as the oldest."""
    try:
        return -file.stat().st_mtime
    except OSError:
        return 0.0


def _result_key(resolved: Mapping[str, object]) -> str:
    """Everything in a resolved spec that affects the run's results, as one string."""
    return json.dumps({**resolved, "name": None, "track": None}, sort_keys=True)


def _comparable(spec: Spec) -> dict[str, object]:
    """The resolved spec in the form that is compared with a run's: with plugins as content hashes."""
    return fingerprinted(spec.resolved(), Path.cwd())


def _recorded_spec(folder: RunFolder) -> dict[str, object]:
    """A run's resolved spec, with default values for fields that are newer than the run."""
    recorded = folder.resolved()
    with suppress(ValidationError):  # for example of the run's own plugin; the comparison will report it
        recorded = {
            **fingerprinted(Spec.model_validate(folder.spec_data()).resolved(), folder.path),
            "plugins": recorded["plugins"],
        }
    return recorded


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
