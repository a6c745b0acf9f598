"""`training.json`: names the run whose training a run shares. Such a run has no checkpoints of its own.

The points of a sweep that differ only in how they are measured share the training of one of them. The file is
relative to the run's folder, so the folders can be moved and copied together.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from ..errors import SpecError
from ..files import read_text, resolved
from ..text import shortened
from ..training.events import OPEN, Count, Seed, first_problem
from . import checkpoint_folder
from .atomic import write_atomically
from .event_log import to_json

FILE = "training.json"
MOST_UP = 3
"""Most folders that the path leads up: from `<out>/<sweep>/<point>/<id>` that is `<out>`."""
MAX_BYTES = 100_000
"""Most bytes of the file that are read."""


@with_config(OPEN)
class _Content(TypedDict):
    """The content of the file; see SharedTraining."""

    run: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+$")]
    step: Count
    validation_seed: Seed


@cache
def _adapter() -> TypeAdapter[_Content]:
    return TypeAdapter(_Content)


@dataclass(frozen=True)
class SharedTraining:
    """The training that a run shares."""

    run: str
    """The folder of the run that trained, relative to the run's own folder."""
    step: int
    """The last step of that training."""
    validation_seed: int
    """The `evaluate.seed` of the run that trained: its validation losses, and so `best`, are of this seed."""

    @classmethod
    def of(cls, training: Path, run: Path, step: int, validation_seed: int) -> SharedTraining:
        """The training in the folder `training`, for a run in the folder `run`."""
        path = os.path.relpath(resolved(training), resolved(run))
        return cls(PurePosixPath(path).as_posix(), step, validation_seed)

    def write(self, run: Path) -> None:
        """Write the file into a run's folder. Raises OSError."""
        write_atomically(run / FILE, to_json(asdict(self), indent=2).decode())

    def target(self, run: Path) -> Path:
        """The folder that the path leads to, whether or not it exists."""
        return resolved(run / self.run)

    def locate(self, run: Path) -> Path:
        """The folder of the run that trained.

        Raises SpecError if the path leads too far away, to a run that shares a training itself, to something
        else than a run, or to a run that has been trained further since.
        """
        file, target = run / FILE, self.target(run)
        up = sum(1 for _ in takewhile(lambda part: part == "..", PurePosixPath(self.run).parts))
        above = list(resolved(run).parents)[:up]
        if not 0 < up <= MOST_UP or not above or not target.is_relative_to(above[-1]):
            raise SpecError(
                f"{file} should name a run beside this one, such as ../../NAME/ID, not {shortened(self.run)}"
            )
        here = _as_seen_from(run, self.run, target)
        if not os.path.lexists(target / "spec.yaml"):
            raise SpecError(
                f"{run} shares the training of {here}, which is not there",
                hint="the folders of a sweep can only be moved or copied together",
            )
        if os.path.lexists(target / FILE):
            raise SpecError(f"{file} names {here}, which has no training of its own either")
        last = checkpoint_folder.last_step(target / "checkpoints")
        if last != self.step:
            now = "has no checkpoint" if last is None else f"ends at step {last:,}"
            raise SpecError(f"{run} shares the training of {here} up to step {self.step:,}, but that {now}")
        return here


def read(run: Path) -> SharedTraining | None:
    """The training that a run shares; None if it has one of its own. Raises SpecError for a damaged file."""
    file = run / FILE
    if not os.path.lexists(file):
        return None
    try:
        content = _adapter().validate_json(read_text(file, MAX_BYTES))
    except ValidationError as error:
        raise SpecError(f"{file} is damaged: {first_problem(error)}") from None
    return SharedTraining(content["run"], content["step"], content["validation_seed"])


def _as_seen_from(run: Path, relative: str, target: Path) -> Path:
    """The target without `..` where that is the same folder, as it is unless a link is on the way."""
    plain = Path(os.path.normpath(run / relative))
    return plain if resolved(plain) == target else target
