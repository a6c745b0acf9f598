"""Finds runs on disk by what they compute: finished runs of a spec, trainings to share, runs to resume."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from ..errors import SpecError
from ..spec.schema import Spec
from ..storage.checkpoint_folder import last_step
from ..storage.comparable import fingerprinted
from ..storage.folder import RunFolder
from ..terminal.console import warn

MEASURED = ("sampler", "evaluate", "guidance", "weights")
"""Blocks of a spec that say how trained weights are sampled and measured, and leave the training as it is."""
DECIDES_PATIENCE = ("seed",)
"""Fields of `evaluate` that decide when patience ends a training: those of the validation."""
DECIDES_ROLLBACK = ("seed", "every_steps", "grid", "grid_every")
"""Fields of `evaluate` that decide to which checkpoint a training rolls back: those of the validation, and of
what saves checkpoints within epochs."""


@dataclass(frozen=True)
class Finished:
    """The finished runs of some specs."""

    runs: dict[str, Path]
    """The newest finished run of each spec that has one, by the spec's name."""
    trainings: dict[str, Path]
    """The newest finished run with checkpoints that a spec can share the training of, by the spec's name;
    the run of an earlier spec comes before that of a later one, and both before other runs."""


def training_key(resolved: Mapping[str, object]) -> str:
    """Everything in a resolved spec that affects the weights, as one string."""
    evaluate = cast(Mapping[str, object], resolved["evaluate"])
    train = cast(Mapping[str, object], resolved["train"])
    deciding = [
        *(DECIDES_PATIENCE if train.get("patience") is not None else ()),
        *(DECIDES_ROLLBACK if train.get("on_nan") == "rollback" else ()),
    ]
    training = {key: value for key, value in resolved.items() if key not in (*MEASURED, "name", "track")}
    return json.dumps({**training, "evaluate": {key: evaluate.get(key) for key in deciding}}, sort_keys=True)


def finished(specs: Sequence[Spec], out: Path) -> Finished:
    """The finished runs below `out`.

    A run counts as a spec's if its spec equals the given one except for `name` and `track`, whether or not it
    is part of a sweep.
    """
    runs: dict[str, Path] = {}
    trainings: dict[str, list[Path]] = {}
    for folder, recorded in readable_runs(specs_below(out), finished=True):
        runs.setdefault(_result_key(recorded), folder.path)
        trainings.setdefault(training_key(recorded), []).append(folder.path)
    of_specs = {spec.name: comparable(spec) for spec in specs}
    known = {name: runs[key] for name, resolved in of_specs.items() if (key := _result_key(resolved)) in runs}
    first = list(known.values())
    shared: dict[str, Path] = {}
    for name, resolved in of_specs.items():
        candidates = trainings.get(training_key(resolved), [])
        candidates = [*(run for run in first if run in candidates), *candidates]
        intact = next(filter(_has_checkpoints, candidates), None)
        shared |= {} if intact is None else {name: intact}
    return Finished(known, shared)


def finished_runs(specs: Sequence[Spec], out: Path) -> dict[str, Path]:
    """The newest finished run below `out` of each spec that has one, by the spec's name; see `finished`."""
    return finished(specs, out).runs


def unfinished_run(spec: Spec, out: Path, *, shares: bool = False) -> Path | None:
    """The newest unfinished run `<out>/<name>/…` of exactly this spec, including its budget.

    One with a training of its own, or with `shares` one that shares the training of another run.
    """
    key = _result_key(comparable(spec))
    for folder, recorded in readable_runs((out / spec.name).glob("*/spec.yaml"), finished=False):
        if _result_key(recorded) == key and (folder.shared is not None) == shares:
            return folder.path
    return None


def specs_below(out: Path) -> list[Path]:
    """The files spec.yaml of all runs below a folder for runs: of single ones, and of sweeps' points."""
    return [*out.glob("*/*/spec.yaml"), *out.glob("*/*/*/spec.yaml")]


def readable_runs(
    files: Iterable[Path], finished: bool | None = None
) -> Iterator[tuple[RunFolder, dict[str, object]]]:
    """The runs of these spec.yaml files with their resolved specs, newest first.

    `finished` selects finished or unfinished runs; None selects both. A run that cannot be read (a foreign
    spec.yaml, a missing plugin, a link out of the folder) is reported and skipped.
    """
    for file in sorted(files, key=_age):
        try:
            folder = RunFolder(file.parent)
            if finished is not None and finished != folder.is_finished:
                continue
            recorded, _ = recorded_spec(folder), folder.shared  # both raise SpecError for a damaged file
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


def seedless_key(resolved: Mapping[str, object]) -> str:
    """Everything in a resolved spec that affects the run's results, apart from the seed, as one string."""
    return _result_key({**resolved, "seed": None})


def comparable(spec: Spec) -> dict[str, object]:
    """The resolved spec in the form that is compared with a run's: with plugins as content hashes."""
    return fingerprinted(spec.resolved(), Path.cwd())


def recorded_spec(folder: RunFolder) -> dict[str, object]:
    """A run's resolved spec, with default values for fields that are newer than the run."""
    return with_defaults(folder.spec_data(), folder.path)


def with_defaults(recorded: Mapping[str, object], folder: Path) -> dict[str, object]:
    """A resolved spec that was written in `folder`, with default values for fields that are newer than it."""
    with suppress(ValidationError):  # for example of the run's own plugin; the comparison will report it
        return fingerprinted(Spec.model_validate(recorded).resolved(), folder)
    return fingerprinted(recorded, folder)


def _has_checkpoints(run: Path) -> bool:
    """Whether a run has a training of its own, with checkpoints."""
    return RunFolder(run).shared is None and last_step(run / "checkpoints") is not None
