"""The base of every block of a spec, and what a removed key leaves in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from ..errors import closest, nearest
from .in_words import MISSING, finding, findings_of


class _Unset:
    """What `null` over an inherited key leaves behind: None where the field allows it, else no key at all."""

    def __repr__(self) -> str:
        return "null"


UNSET = _Unset()


class Strict(BaseModel):
    """A block of the spec: no unknown keys, no coercion, no NaN, immutable."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        validate_default=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _from_yaml(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        unknown = [key for key, value in data.items() if key not in cls.model_fields and value is not UNSET]
        out: dict[str, object] = {}
        for key, value in data.items():
            if key not in cls.model_fields:
                continue
            kinds = _kinds(cls.model_fields[key].annotation)
            if value is UNSET:
                if type(None) in kinds:
                    out[key] = None
            else:  # YAML has one kind of sequence; pydantic's strict mode tells lists from tuples
                out[key] = tuple(value) if isinstance(value, list) and tuple in kinds else value
        if not unknown:
            return handler(out)
        findings = [
            finding((key,), f"unknown key; {nearest(str(key), cls.model_fields) or 'there are none here'}")
            for key in unknown
        ]
        try:
            handler(out)
        except ValidationError as error:
            misspelt = [((closest(str(key), cls.model_fields),), MISSING) for key in unknown]
            findings += [finding(*found) for found in findings_of(error) if found not in misspelt]
        raise ValidationError.from_exception_data(cls.__name__, findings)


def _kinds(annotation: object) -> set[object]:
    """The run-time types that an annotation admits at its top level."""
    if get_origin(annotation) is tuple:
        return {tuple}
    return {annotation}.union(*(_kinds(arg) for arg in get_args(annotation)))
