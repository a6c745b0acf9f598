"""Pydantic's errors, reworded for the users of a spec."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from ..errors import SpecError
from ..text import shortened

VERBATIM = "verbatim"
"""The type of a pydantic error that ddpmx raises and whose message needs no rewording."""
MISSING = "required, but missing"


def finding(path: tuple[str | int, ...], message: str) -> InitErrorDetails:
    """A part of a pydantic error whose message `findings_of` returns unchanged."""
    verbatim = PydanticCustomError(VERBATIM, "{message}", {"message": message})
    return InitErrorDetails(type=verbatim, loc=path, input=None)


def findings_of(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Path and message of each finding of a pydantic error."""
    return [(details["loc"], _in_words(details)) for details in error.errors(include_url=False)]


def spec_error(error: ValidationError) -> SpecError:
    """A SpecError with the findings of a pydantic error, each with its field."""
    return SpecError.of(
        SpecError(message, field=".".join(map(str, path))) for path, message in findings_of(error)
    )


def _in_words(details: ErrorDetails) -> str:
    kind, message, value = details["type"], details["msg"], details["input"]
    if kind == VERBATIM:
        return message
    if kind == "missing":
        return MISSING
    if kind == "model_type":
        return "should be a block of fields"
    if kind == "tuple_type":
        return "should be a list" + _list_hint(value)
    if kind == "string_pattern_mismatch":
        return f"should match {details['ctx']['pattern']}, not {shortened(repr(value))}"
    message = message.removeprefix("Value error, ").replace("Input should be", "should be")
    message = (
        message.replace("Tuple should have", "should be a list of")
        .replace("tuple", "list")
        .replace(" after validation", "")
    )
    if isinstance(value, str | int | float | bool | None):
        return f"{message}, not {shortened(repr(value))}"
    return message


def _list_hint(value: object) -> str:
    """The rest of the sentence "should be a list" for a value that is not one."""
    # An override such as metrics.0=fid, without a list to change, gives {"0": "fid"}.
    if isinstance(value, Mapping) and value and all(str(key).isdecimal() for key in value):
        index = shortened(str(next(iter(value))))
        return f": there is no item {index} to change, so give the whole list, such as [1, 2]"
    if not isinstance(value, str | int | float | bool | None):
        return ""
    suggestion = f"; did you mean [{shortened(str(value))}]?" if value not in (None, "") else ""
    return f", not {shortened(repr(value))}{suggestion}"
