"""What a run's folder records besides its events, typed: status.json, environment.json and the resolved spec.yaml.

Only what ddpmx reads itself has a type; keys of newer versions pass as they are.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ..components.in_words import describe
from ..errors import Mark, SpecError
from ..files import read_text
from ..spec.yaml_source import read
from ..training.events import OPEN, Amount, Count, Ordinal, Seed, told

MAX_BYTES = 20_000_000


class Status(TypedDict):
    """status.json"""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    status: str
    why: NotRequired[str]
    time: NotRequired[str]
    epoch: NotRequired[Count]
    step: NotRequired[Count]
    seconds: NotRequired[Amount]
    pid: NotRequired[Count]


class DataFacts(TypedDict):
    """`data` of environment.json"""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    name: NotRequired[str]
    fingerprint: NotRequired[str | None]
    classes: NotRequired[list[str] | None]
    train: NotRequired[Count]
    validation: NotRequired[Count]
    test: NotRequired[Count]


class Environment(TypedDict):
    """environment.json"""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    data: NotRequired[DataFacts]
    device: NotRequired[str]
    parameters: NotRequired[Count]
    command: NotRequired[str]


class Block(TypedDict):
    """A component."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    name: str


class TrainBlock(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]
    epochs: Ordinal | None
    steps: Ordinal | None
    batch_size: Ordinal
    grad_clip: Annotated[float, Field(gt=0)] | None


class EvaluateBlock(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]
    seed: Seed
    samples: Ordinal
    sampler: Block
    grid: Count


class RunSpec(TypedDict):
    """spec.yaml, as far as a run can be read without its components, which may be of a plugin that is not here."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$", max_length=100)]
    plugins: list[str]
    seed: Seed
    dataset: Block
    model: Block
    schedule: Block
    prediction: Block
    sampler: Block
    loss: dict[str, Any]
    train: TrainBlock
    evaluate: EvaluateBlock


MODELS: dict[str, Any] = {"status.json": Status, "environment.json": Environment, "spec.yaml": RunSpec}


@cache
def _adapter(name: str) -> TypeAdapter[dict[str, Any]]:
    return TypeAdapter(MODELS[name])


def read_record(path: Path) -> dict[str, Any]:
    """A status.json or environment.json. Raises SpecError that names the file and what is wrong with it."""
    text = read_text(path, MAX_BYTES).removeprefix("\ufeff")
    try:
        return _adapter(path.name).validate_json(text)
    except ValidationError as error:
        raise SpecError(f"{path} is damaged: {told(error)}") from None


def read_spec(path: Path) -> dict[str, Any]:
    """A run's spec.yaml as it is written. Raises SpecError, placed at the line, also where it is no resolved spec."""
    source = read(path)
    try:
        _adapter(path.name).validate_python(source.data)
    except ValidationError as error:
        keys, message = describe(error)[0]
        mark = source.mark(keys) or Mark(str(path), 1)
        text = f"{message}; this is not the resolved spec of a run"
        raise SpecError(text, field=".".join(map(str, keys)), mark=mark) from None
    return source.data
