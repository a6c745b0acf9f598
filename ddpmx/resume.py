"""Which run `--resume` goes on with, and the lock that keeps two processes off one folder."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .checkpoint import counters
from .errors import RunError, SpecError
from .run_folder import RunFolder, fingerprinted
from .spec import Spec, difference
from .train import is_over

MAY_DIFFER = ("train.epochs", "train.steps", "train.patience", "track")


def find_previous(spec: Spec, out: Path, named: Path | None) -> Path | None:
    """The named run, or the newest unfinished run of the same spec; None when there is none.

    Raises SpecError, placed at the first differing field, when the named run's spec differs in more than MAY_DIFFER.
    """
    wanted = fingerprinted(spec.resolved(), Path.cwd())
    if named is not None:
        differing = _differing(RunFolder(named), wanted)
        if differing:
            hint = f"a resumed run may differ in {', '.join(MAY_DIFFER)} and the device"
            with spec.blame(differing[0]):
                raise SpecError(f"the run {named} has another value here (differing: {', '.join(differing)})", hint=hint)
        return named
    files = sorted((out / spec.name).glob("*/spec.yaml"), key=lambda file: file.stat().st_mtime, reverse=True)
    for folder in (RunFolder(file.parent) for file in files):
        if not _differing(folder, wanted) and not _is_finished(folder, spec):
            return folder.path
    return None


def finished_runs(specs: Iterable[Spec], out: Path) -> dict[str, Path]:
    """By a spec's name the newest finished run below `out`, in a sweep or not, that equals it in all but `name` and `track`."""
    found: dict[str, Path] = {}
    files = sorted([*out.glob("*/*/spec.yaml"), *out.glob("*/*/*/spec.yaml")], key=lambda file: file.stat().st_mtime)
    for folder in (RunFolder(file.parent) for file in files):
        if folder.read_json("status.json").get("status") == "finished":
            found[_computed(_had(folder))] = folder.path
    keys = {spec.name: _computed(fingerprinted(spec.resolved(), Path.cwd())) for spec in specs}
    return {name: found[key] for name, key in keys.items() if key in found}


def unfinished_run(spec: Spec, out: Path) -> Path | None:
    """The newest run `<out>/<name>/…` of this very spec, its budget included, that has not finished."""
    wanted = _computed(fingerprinted(spec.resolved(), Path.cwd()))
    files = sorted((out / spec.name).glob("*/spec.yaml"), key=lambda file: file.stat().st_mtime, reverse=True)
    for folder in (RunFolder(file.parent) for file in files):
        if folder.read_json("status.json").get("status") != "finished" and _computed(_had(folder)) == wanted:
            return folder.path
    return None


def _computed(resolved: dict[str, Any]) -> str:
    """All of a resolved spec that decides what its run computes."""
    return json.dumps({**resolved, "name": None, "track": None}, sort_keys=True)


def _had(folder: RunFolder) -> dict[str, Any]:
    """A run's resolved spec, with the defaults of fields that are newer than the run."""
    had = folder.resolved()
    with suppress(ValidationError):  # of a plugin of its own, say: it is told by the comparison
        had = {**fingerprinted(Spec.model_validate(folder.spec_data()).resolved(), folder.path), "plugins": had["plugins"]}
    return had


def _differing(folder: RunFolder, wanted: dict[str, Any]) -> list[str]:
    return [field for field in difference(_had(folder), wanted) if not field.startswith(MAY_DIFFER)]


def _is_finished(folder: RunFolder, spec: Spec) -> bool:
    """Finished, and the spec's budget asks for no more."""
    try:
        return folder.read_json("status.json").get("status") == "finished" and is_over(spec.train, counters(folder.checkpoints / "last"))
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
