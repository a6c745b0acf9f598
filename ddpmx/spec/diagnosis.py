"""Checking a spec that also has invalid fields, so that both kinds of error are reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from ..errors import SpecError
from .checks import check
from .schema import Spec
from .source import KeyPath, Source

SHARED = ("schedule", "model", "prediction")
"""Blocks that most checks depend on. If one of them is invalid, no check is run."""
PLAIN = ("train", "loss", "guidance", "evaluate")
"""Blocks whose fields do not depend on each other, so that an invalid field is left out on its own."""
STAND_INS = {"name": "spec", "dataset": "digits"}
"""Values for required fields that none of the checks depends on."""


def other_errors(
    source: Source, data: Mapping[str, object], invalid: Iterable[KeyPath]
) -> tuple[SpecError, ...]:
    """The errors that `check` finds when the `invalid` fields are replaced by their defaults.

    Errors within an invalid field are not repeated.
    """
    left_out = {path[:2] if path[0] in PLAIN else path[:1] for path in invalid if path}
    if any(path[0] in SHARED for path in left_out):
        return ()
    rest = {
        key: dict(value) if isinstance(value, Mapping) else value
        for key, value in data.items()
        if key in Spec.model_fields
    }
    for block, *fields in left_out:
        if not fields:
            rest.pop(str(block), None)
        elif isinstance(inner := rest.get(str(block)), dict):
            inner.pop(fields[0], None)
    try:
        spec = Spec.model_validate({**STAND_INS, **rest})
    except (
        ValidationError
    ):  # as of a field that is required: what is reported already is all that can be said
        return ()
    spec._source = source
    try:
        check(spec)
    except SpecError as error:
        prefixes = tuple(".".join(map(str, path)) + "." for path in left_out)
        return tuple(finding for finding in error.findings if not f"{finding.field}.".startswith(prefixes))
    return ()
