"""The events of metrics.jsonl: the keys and types that a line needs to be valid, whoever wrote it.

A kind that is not in KINDS comes from a newer version or a plugin and needs only its name. Keys that are not
listed here are kept unchanged, in every kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from ..components.in_words import findings_of

Event = dict[str, Any]
"""One line of metrics.jsonl."""
PASSES = "passes"
"""Key of the events of an evaluation or a grid within an epoch: passes over the training images so far, a
fraction."""
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Ordinal = Annotated[int, Field(ge=1, le=2**63 - 1)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Metric = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,100}$")]
Metrics = Annotated[dict[Metric, float], Field(max_length=100)]
Facts = Annotated[dict[Metric, int | float | str], Field(max_length=20)]
Text = Annotated[str, Field(max_length=200)]
Levels = list[float | None]
Block = dict[str, Any]
OPEN = ConfigDict(strict=True, extra="allow")
_KIND = re.compile(rb'\s*\{\s*"event"\s*:\s*"([a-z_]{1,40})"')


@with_config(OPEN)
class Score(TypedDict):
    """`metrics.Score.fields`."""

    value: float
    better: Literal["lower", "higher"]
    n: Count
    seed: Seed
    split: str | None
    extractor: str | None
    preprocessing: str
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    interval_note: NotRequired[str]
    floor: NotRequired[float | None]
    floor_n: NotRequired[Count]
    floor_split: NotRequired[str | None]
    depends_on_n: NotRequired[bool]
    facts: NotRequired[Facts]
    metric: NotRequired[Block | None]


@with_config(OPEN)
class Weights(TypedDict):
    """The weights that were measured."""

    checkpoint: str | Count
    ema_std: Amount | None


@with_config(OPEN)
class Picture(TypedDict):
    """A picture beside a score, as `storage.pictures` writes it."""

    path: Annotated[str, Field(max_length=200)]
    columns: Annotated[list[Text], Field(min_length=1, max_length=16)]
    labels: Annotated[list[Text], Field(min_length=1, max_length=64)]
    caption: Annotated[str, Field(max_length=2000)]


@with_config(OPEN)
class Scored(TypedDict):
    """An event that may have scores, and then also what they were measured with."""

    scores: NotRequired[dict[Metric, Score]]
    samples: NotRequired[Count]
    seed: NotRequired[Seed]
    sampler: NotRequired[Block]
    guidance: NotRequired[Block]
    weights: NotRequired[Weights]
    values: NotRequired[str]
    pictures: NotRequired[dict[Metric, Picture]]


class Plain(Scored):
    """An event that may have metrics."""

    metrics: NotRequired[Metrics]


class Other(Plain):
    """An event of an unknown kind."""

    event: Annotated[str, Field(min_length=1, max_length=100)]
    epoch: NotRequired[Count]
    step: NotRequired[Count]


class Step(Plain):
    """A logged training step."""

    event: Literal["step"]
    step: Count
    loss: float
    lr: NotRequired[float]
    grad_norm: NotRequired[float]
    images: NotRequired[Count]


@with_config(OPEN)
class Unstable(TypedDict):
    """The result of `Stability.instability`."""

    at_step: Count
    factor: float
    of: str
    recovered: bool
    now: float | None


@with_config(OPEN)
class Row(TypedDict):
    """Results of an epoch, in its event and in a checkpoint."""

    epoch: Ordinal
    step: Ordinal
    train_loss: float
    val_loss: float
    seconds: Amount
    images_per_second: Amount
    images: NotRequired[Count]
    verdict: NotRequired[str]
    unstable: NotRequired[Unstable]


class Epoch(Row, Scored):
    """The end of an epoch."""

    event: Literal["epoch"]
    metrics: Metrics


class Evaluate(Scored):
    """An evaluation within an epoch, or by `ddpmx evaluate`."""

    event: Literal["evaluate"]
    epoch: Count
    step: Count
    passes: NotRequired[Amount]
    train_loss: NotRequired[float | None]
    val_loss: NotRequired[float]
    metrics: Metrics


class Samples(Plain):
    """A grid of sampled images."""

    event: Literal["samples"]
    epoch: Count
    step: Count
    passes: NotRequired[Amount]
    path: str
    variance_error: NotRequired[Amount]


@with_config(OPEN)
class Curves(TypedDict):
    """The result of `Validated.by_timestep`."""

    t: Annotated[list[float], Field(min_length=1, max_length=10_000)]
    log_snr: Levels
    n: list[Count]
    loss: Levels
    share: Levels
    bits: Levels


class PerT(Plain, Curves):
    """The validation loss by timestep."""

    event: Literal["per_t"]
    epoch: Count
    step: Count
    passes: NotRequired[Amount]


class Diverged(Plain):
    """A step that was not finite, and what was done about it."""

    event: Literal["diverged"]
    action: str
    epoch: Count
    step: Count


class End(Plain):
    """The end of a run."""

    event: Literal["end"]
    step: Count
    status: str
    why: NotRequired[str]
    seconds: NotRequired[Amount]


def _check_lengths(event: PerT) -> PerT:
    """The event, unchanged. Raises ValueError if its lists differ in length."""
    if len({len(event[key]) for key in ("t", "log_snr", "n", "loss", "share", "bits")}) > 1:
        raise ValueError("its lists should have the same length")
    return event


KINDS: dict[str, Any] = {
    "step": Step,
    "epoch": Epoch,
    "evaluate": Evaluate,
    "samples": Samples,
    "per_t": Annotated[PerT, AfterValidator(_check_lengths)],
    "diverged": Diverged,
    "end": End,
}


@cache
def _adapter(kind: str) -> TypeAdapter[Event]:
    """The validator of a kind, or of an unknown one."""
    return TypeAdapter(KINDS.get(kind, Other))


def is_row(event: Event) -> bool:
    """Whether log.csv has a row for the event: an epoch, or an evaluation within one."""
    return event["event"] == "epoch" or (event["event"] == "evaluate" and PASSES in event)


def passes_of(event: Mapping[str, Any]) -> float:
    """Passes over the images at an event; at an epoch's end its number, even if the pass is partial."""
    return float(event[PASSES] if PASSES in event else event["epoch"])


def kind_of(line: bytes) -> str:
    """The kind at the start of a line, where ddpmx writes it; empty if it is not there."""
    match = _KIND.match(line)
    return match[1].decode() if match else ""


def parse(line: bytes) -> Event:
    """The event of a line. Raises ValueError with a short reason if the line is not valid."""
    kind = kind_of(line)
    try:
        event = _adapter(kind if kind in KINDS else "").validate_json(line)
        if kind not in KINDS and event["event"] in KINDS:  # its keys are in another order
            event = _adapter(event["event"]).validate_json(line)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    return event


def first_problem(error: ValidationError) -> str:
    """The first problem of a pydantic error, with its field."""
    path, message = findings_of(error)[0]
    return f"{'.'.join(map(str, path))}: {message}" if path else message
