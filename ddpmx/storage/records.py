"""What a run's folder records besides its events, typed: status.json, environment.json and the resolved spec.yaml.

Only what ddpmx reads itself has a type; keys of newer versions pass as they are.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, NotRequired, TypeVar, cast

from pydantic import Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from ..components.in_words import findings_of
from ..errors import Mark, SpecError
from ..files import read_text
from ..spec.yaml_source import read
from ..training.events import OPEN, Amount, Count, Ordinal, Seed, told

MAX_BYTES = 20_000_000


@with_config(OPEN)
class Status(TypedDict):
    """status.json"""

    status: str
    why: NotRequired[str]
    time: NotRequired[str]
    epoch: NotRequired[Count]
    step: NotRequired[Count]
    seconds: NotRequired[Amount]
    pid: NotRequired[Count]


class Reached(TypedDict, total=False):
    """How far a run has come."""

    epoch: int
    step: int
    seconds: float
    """Of this process."""


@with_config(OPEN)
class DataFacts(TypedDict):
    """`data` of environment.json"""

    name: NotRequired[str]
    fingerprint: NotRequired[str | None]
    classes: NotRequired[list[str] | None]
    train: NotRequired[Count]
    validation: NotRequired[Count]
    test: NotRequired[Count]


@with_config(OPEN)
class Environment(TypedDict):
    """environment.json"""

    data: NotRequired[DataFacts]
    device: NotRequired[str]
    parameters: NotRequired[Count]
    command: NotRequired[str]


@with_config(OPEN)
class Block(TypedDict):
    """A component."""

    name: str


@with_config(OPEN)
class TrainBlock(TypedDict):
    epochs: Ordinal | None
    steps: Ordinal | None
    batch_size: Ordinal
    grad_clip: Annotated[float, Field(gt=0)] | None


@with_config(OPEN)
class EvaluateBlock(TypedDict):
    seed: Seed
    samples: Ordinal
    sampler: Block
    grid: Count


@with_config(OPEN)
class RunSpec(TypedDict):
    """spec.yaml, as far as a run can be read without its components, which may be of a plugin that is not here."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$", max_length=100)]
    plugins: list[str]
    seed: Seed
    dataset: Block
    model: Block
    schedule: Block
    prediction: Block
    sampler: Block
    loss: dict[str, object]
    train: TrainBlock
    evaluate: EvaluateBlock


T = TypeVar("T")


@cache
def _status() -> TypeAdapter[Status]:
    return TypeAdapter(Status)


@cache
def _environment() -> TypeAdapter[Environment]:
    return TypeAdapter(Environment)


@cache
def _spec() -> TypeAdapter[RunSpec]:
    return TypeAdapter(RunSpec)


def read_status(path: Path) -> Status:
    """A status.json. Raises SpecError that names the file and what is wrong with it."""
    return _read(path, _status())


def read_environment(path: Path) -> Environment:
    """An environment.json. Raises SpecError that names the file and what is wrong with it."""
    return _read(path, _environment())


def _read(path: Path, adapter: TypeAdapter[T]) -> T:
    text = read_text(path, MAX_BYTES).removeprefix("\ufeff")
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise SpecError(f"{path} is damaged: {told(error)}") from None


def read_spec(path: Path) -> RunSpec:
    """A run's spec.yaml as it is written. Raises SpecError, placed at the line, also where it is no resolved spec."""
    source = read(path)
    try:
        _spec().validate_python(source.data)
    except ValidationError as error:
        keys, message = findings_of(error)[0]
        mark = source.mark(keys) or Mark(str(path), 1)
        text = f"{message}; this is not the resolved spec of a run"
        raise SpecError(text, field=".".join(map(str, keys)), mark=mark) from None
    return cast(
        RunSpec, source.data
    )  # has just been checked; what pydantic returns has its keys in another order
