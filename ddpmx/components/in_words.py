"""The errors of pydantic in the words of ddpmx."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from ..errors import SpecError
from ..text import shortened

SAID = "said"
"""The type of a pydantic error whose message is ours."""
MISSING = "required, and not given"


def finding(path: tuple[str | int, ...], message: str) -> InitErrorDetails:
    """A part of a pydantic error whose text `findings_of` returns as it is."""
    return InitErrorDetails(type=PydanticCustomError(SAID, "{said}", {"said": message}), loc=path, input=None)


def findings_of(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Path and text of each finding of a pydantic error, in our words."""
    return [(found["loc"], _in_words(found)) for found in error.errors(include_url=False)]


def spec_error(error: ValidationError) -> SpecError:
    """The findings of a pydantic error, each placed at its field."""
    return SpecError.of(
        SpecError(message, field=".".join(map(str, path))) for path, message in findings_of(error)
    )


def _in_words(found: ErrorDetails) -> str:
    kind, message, given = found["type"], found["msg"], found["input"]
    if kind == SAID:
        return message
    if kind == "missing":
        return MISSING
    if kind == "model_type":
        return "should be a block of fields"
    if kind == "tuple_type":
        return "should be a list" + _list_hint(given)
    if kind == "string_pattern_mismatch":
        return f"should match {found['ctx']['pattern']}, not {shortened(repr(given))}"
    message = message.removeprefix("Value error, ").replace("Input should be", "should be")
    message = (
        message.replace("Tuple should have", "should be a list of")
        .replace("tuple", "list")
        .replace(" after validation", "")
    )
    return (
        f"{message}, not {shortened(repr(given))}"
        if isinstance(given, str | int | float | bool | None)
        else message
    )


def _list_hint(given: object) -> str:
    if (
        isinstance(given, Mapping) and given and all(str(key).isdecimal() for key in given)
    ):  # an override such as metrics.0=fid
        return f": there is no item {shortened(str(next(iter(given))))} to change, so give all of it, as in [1, 2]"
    if not isinstance(given, str | int | float | bool | None):
        return ""
    return f", not {shortened(repr(given))}" + (
        f"; did you mean [{shortened(str(given))}]?" if given not in (None, "") else ""
    )
