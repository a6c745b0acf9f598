"""The grammar of `claims:`, the statements about a sweep's points that are judged by the runs' scores.

Each claim has a `test`, which decides its other keys: a class for each test, with its keys as fields.
`docs/statistics.md` says when a claim holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator, ValidationError, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from ..components.in_words import MISSING, VERBATIM, findings_of
from ..components.strict import UNSET, Strict
from ..errors import SpecError, nearest
from ..text import shortened
from .source import KeyPath, Source, value_at

CLAIMS = "claims"
"""The key of a spec that has the list of claims."""
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def _refusal(message: str) -> PydanticCustomError:
    """An error of a field whose message is shown as it is."""
    return PydanticCustomError(VERBATIM, "{message}", {"message": message})


def _text(value: str) -> str:
    if not value.strip():
        raise _refusal("should be text, not empty")
    return value


def _shown(value: object) -> object:
    """Text, a number, or lists and mappings of them."""
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _refusal("should be text, a number, or a list or mapping of them")
    return value


def _published(value: object) -> object:
    return None if value is None else _shown(value)


def _margin(value: object) -> float | str:
    number = float(share[1]) if isinstance(value, str) and (share := _PERCENT.fullmatch(value)) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not number > 0:
        wanted = "a number above 0, or a percentage such as '10 %'"
        raise _refusal(f"should be {wanted}, not {shortened(repr(value))}")
    return value if isinstance(value, str) else float(number)


def _other(value: str, info: ValidationInfo) -> str:
    if value == info.data.get("point"):
        raise _refusal(f"compares '{shortened(value)}' with itself")
    return value


_NUMBER = {"type": "number", "exclusiveMinimum": 0}
Text = Annotated[str, AfterValidator(_text), WithJsonSchema({"type": "string", "minLength": 1})]
OtherPoint = Annotated[Text, AfterValidator(_other)]
Published = Annotated[
    object,
    PlainValidator(_published),
    WithJsonSchema({"type": ["string", "number", "array", "object"]}),
]
Margin = Annotated[
    float | str,
    PlainValidator(_margin),
    WithJsonSchema({"anyOf": [_NUMBER, {"type": "string", "pattern": _PERCENT.pattern}]}),
]


class _Statement(Strict):
    """What all claims have."""

    says: Text
    """The claim, as a sentence."""
    source: Text
    """Where it is made: a paper, a page, or a person."""
    published: Published = None
    """The source's own figures: text, numbers, or lists and mappings of them. Shown beside the measured ones,
    and never compared with them."""


class _Measured(_Statement):
    """A claim about a score."""

    measure: Text
    """The score that it is about: `val_loss`, or a score of one of `evaluate.metrics`."""


class Better(_Measured):
    """One point scores better than another, by a factor of `by` or more."""

    test: Literal["better"]
    """The test by which the claim is judged."""
    point: Text
    """Label of the point: its name without the sweep's name and the seed."""
    than: OtherPoint
    """Label of the point that it is better than."""
    by: float = Field(1.0, gt=0)
    """The least ratio of the worse score to the better one."""


class Best(_Measured):
    """One point scores better than every other."""

    test: Literal["best"]
    """The test by which the claim is judged."""
    point: Text
    """Label of the point: its name without the sweep's name and the seed."""


class Trend(_Measured):
    """The score falls, or rises, with a field that differs between the points."""

    test: Literal["trend"]
    """The test by which the claim is judged."""
    field: Text
    """Dotted field with numbers, such as `schedule.timesteps`; points without a number there take no part."""
    direction: Literal["falls", "rises"]
    """How the score changes as the field grows."""


class Equivalent(_Measured):
    """Two points' scores differ by less than a margin."""

    test: Literal["equivalent"]
    """The test by which the claim is judged."""
    point: Text
    """Label of the point: its name without the sweep's name and the seed."""
    to: OtherPoint
    """Label of the point that it is equivalent to."""
    margin: Margin
    """The greatest difference of no interest: a number in units of the score, or a percentage of the mean of
    both scores, such as `10 %`."""

    @property
    def share(self) -> float | None:
        """The margin as a share of the mean of both scores, such as 0.1; None where it is absolute."""
        found = _PERCENT.fullmatch(self.margin) if isinstance(self.margin, str) else None
        return float(found[1]) / 100 if found else None


class Equals(_Statement):
    """A quantity that is computed from a point's spec, without a run, has a certain value."""

    test: Literal["equals"]
    """The test by which the claim is judged."""
    measure: Literal["terminal_signal", "prior_bits"]
    """`terminal_signal`: the factor of the image at the last timestep, sqrt(alpha_bar_T). `prior_bits`: how
    far the training images are then from pure noise, in bits per dimension of the Kullback-Leibler
    divergence."""
    point: Text
    """Label of the point: its name without the sweep's name and the seed."""
    value: float
    """The value that it has."""
    within: float = Field(ge=0)
    """The greatest deviation from `value` that counts as equal."""


class Unstable(_Statement):
    """A point's training is unstable, by the verdict that its runs record."""

    test: Literal["unstable"]
    """The test by which the claim is judged."""
    point: Text
    """Label of the point: its name without the sweep's name and the seed."""
    measure: Text | None = None
    """Not needed, since instability is no score."""


Claim = Better | Best | Trend | Equivalent | Equals | Unstable
TESTS: dict[str, type[Claim]] = {
    "better": Better,
    "best": Best,
    "trend": Trend,
    "equivalent": Equivalent,
    "equals": Equals,
    "unstable": Unstable,
}
"""The class of each test."""


def claims_of(source: Source) -> tuple[Claim, ...]:
    """The claims of merged data; none if there is no `claims:`.

    Raises SpecError with every finding, each at its line. Whether the points, measures and fields exist is
    left to `claim_checks.check`.
    """
    written = source.data.get(CLAIMS)
    if written in (None, UNSET):
        return ()
    if not isinstance(written, list):
        text = "should be a list of claims, each a block with `says`, `source` and `test`"
        raise SpecError(text, field=CLAIMS, mark=source.mark((CLAIMS,)))
    claims, findings = list[Claim](), list[SpecError]()
    for index in range(len(written)):
        try:
            claims.append(_claim(source, (CLAIMS, index)))
        except SpecError as error:
            findings.append(error)
    if findings:
        raise SpecError.of(findings)
    return tuple(claims)


def claim_error(source: Source, index: int, key: str, message: str, hint: str = "") -> SpecError:
    """The SpecError for a key of the claim at an index, with its line."""
    path = (CLAIMS, index, key)
    return SpecError(message, field=".".join(map(str, path)), mark=source.mark(path), hint=hint)


def claims_schema() -> dict[str, object]:
    """The JSON Schema of the list of claims."""
    return {
        "type": "array",
        "items": {"oneOf": [model.model_json_schema() for model in TESTS.values()]},
        "description": "Statements about the sweep's points, which `ddpmx claims` judges by their scores.",
    }


def _claim(source: Source, path: KeyPath) -> Claim:
    block = value_at(source.data, path)
    if not isinstance(block, Mapping):
        text = "should be a block with `says`, `source`, `test` and the keys of that test"
        raise SpecError(text, field=_dotted(path), mark=source.mark(path))
    test = block.get("test")
    if test is None or not isinstance(test, str) or test not in TESTS:
        hint = nearest(str(test or ""), TESTS)
        text = MISSING if test is None else f"no such test: {shortened(repr(test))}"
        raise SpecError(text, field=_dotted((*path, "test")), mark=source.mark((*path, "test")), hint=hint)
    try:
        return TESTS[test].model_validate(dict(block))
    except ValidationError as error:
        raise SpecError.of(
            SpecError(message, field=_dotted((*path, *keys)), mark=source.mark((*path, *keys)))
            for keys, message in findings_of(error)
        ) from None


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))
