"""Typed readers for a run's status.json, environment.json and resolved spec.yaml.

Only keys that ddpmx reads have a type; other keys, such as those of newer versions, are accepted unchecked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, NotRequired, TypeVar, cast

from pydantic import Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from ..components.in_words import findings_of
from ..errors import Mark, SpecError
from ..files import read_text
from ..spec.yaml_source import read
from ..training.events import OPEN, Amount, Count, Ordinal, Seed, Weights, first_problem

MAX_BYTES = 20_000_000
"""Most bytes of a JSON file that is read."""


@with_config(OPEN)
class Status(TypedDict):
    """The content of status.json."""

    status: str
    """`running`, `finished`, `interrupted` or `failed`."""
    why: NotRequired[str]
    """The reason for this status; empty if it needs none."""
    time: NotRequired[str]
    """When it was written, in ISO 8601."""
    epoch: NotRequired[Count]
    """Completed epochs."""
    step: NotRequired[Count]
    """Completed steps."""
    seconds: NotRequired[Amount]
    """Seconds that the process has run."""
    pid: NotRequired[Count]
    """The process that wrote it."""


class Reached(TypedDict, total=False):
    """How far a run has come."""

    epoch: int
    """Completed epochs."""
    step: int
    """Completed steps."""
    seconds: float
    """Seconds that the process has run."""


@with_config(OPEN)
class DataFacts(TypedDict):
    """The block `data` of environment.json; see `DataRecord`."""

    name: NotRequired[str]
    """The dataset component's name."""
    fingerprint: NotRequired[str | None]
    """A hash of the images and labels; None for an imported run."""
    classes: NotRequired[list[str] | None]
    """Names of the classes; None if the data has no labels."""
    train: NotRequired[Count]
    """Number of training images."""
    validation: NotRequired[Count]
    """Number of validation images."""
    test: NotRequired[Count]
    """Number of test images."""


@with_config(OPEN)
class Environment(TypedDict):
    """The content of environment.json."""

    data: NotRequired[DataFacts]
    """The data that the run is trained on."""
    device: NotRequired[str]
    """The device's type and model."""
    parameters: NotRequired[Count]
    """Number of parameters of the network."""
    command: NotRequired[str]
    """The command line that started the run."""


@with_config(OPEN)
class Block(TypedDict):
    """A component's block in the spec."""

    name: str
    """The component's name."""


@with_config(OPEN)
class TrainBlock(TypedDict):
    """The fields of `train` that pages show."""

    epochs: Ordinal | None
    """Epochs to train for; None if `steps` gives the length."""
    steps: Ordinal | None
    """Steps to train for; None if `epochs` gives the length."""
    batch_size: Ordinal
    """Images per step."""
    grad_clip: Annotated[float, Field(gt=0)] | None
    """The largest gradient norm, above which gradients are scaled down; None for no limit."""
    ema: NotRequired[dict[str, object] | None]
    """The moving average of the weights; `constant` in a block without `name`, None for no average."""


@with_config(OPEN)
class EvaluateBlock(TypedDict):
    """The fields of `evaluate` that pages show."""

    seed: Seed
    """The seed of validation and of samples made during training."""
    samples: Ordinal
    """Number of images generated for metrics."""
    sampler: Block
    """The sampler that makes them."""
    grid: Count
    """Number of images in a sample grid; 0 for no grids."""
    metrics: NotRequired[Sequence[object]]
    """The metrics' blocks."""


@with_config(OPEN)
class RunSpec(TypedDict):
    """The parts of spec.yaml that are read without its components, which may need a missing plugin."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$", max_length=100)]
    """The spec's name."""
    plugins: list[str]
    """Files within the run's folder, or names of modules."""
    seed: Seed
    """The training seed."""
    dataset: Block
    """The data."""
    model: Block
    """The network."""
    schedule: Block
    """The noise schedule."""
    prediction: Block
    """What the network predicts."""
    sampler: Block
    """The sampler for final samples."""
    loss: dict[str, object]
    """The objective: weighting, norm and other fields."""
    train: TrainBlock
    """How the run is trained."""
    evaluate: EvaluateBlock
    """How the run is evaluated."""
    guidance: NotRequired[dict[str, object]]
    """The guidance; not in specs of early versions."""
    weights: NotRequired[Weights]
    """The weights that are measured; not in specs of early versions."""


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
    """Read a status.json. Raises SpecError with the file's path and what is wrong with it."""
    return _read(path, _status())


def read_environment(path: Path) -> Environment:
    """Read an environment.json. Raises SpecError with the file's path and what is wrong with it."""
    return _read(path, _environment())


def _read(path: Path, adapter: TypeAdapter[T]) -> T:
    text = read_text(path, MAX_BYTES).removeprefix("\ufeff")
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise SpecError(f"{path} is damaged: {first_problem(error)}") from None


def read_spec(path: Path) -> RunSpec:
    """A run's spec.yaml as it was written. Raises SpecError with the line if it is not a resolved spec."""
    source = read(path)
    try:
        _spec().validate_python(source.data)
    except ValidationError as error:
        keys, message = findings_of(error)[0]
        mark = source.mark(keys) or Mark(str(path), 1)
        text = f"{message}; this is not the resolved spec of a run"
        raise SpecError(text, field=".".join(map(str, keys)), mark=mark) from None
    return cast(RunSpec, source.data)  # checked above; pydantic's own result would change the order of keys
