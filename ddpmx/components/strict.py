"""The base class of every block of a spec, and the value that marks a key as unset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from ..errors import closest, nearest
from .in_words import MISSING, finding, findings_of


class _Unset:
    """The type of UNSET."""

    def __repr__(self) -> str:
        return "null"


UNSET = _Unset()
"""The value of an inherited key overridden with null: None if the field allows it, else the default."""


class Strict(BaseModel):
    """A block of the spec: immutable, without unknown keys, type coercion or NaN."""

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
            else:  # YAML has lists only, and pydantic's strict mode does not accept them for tuples
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
            # A field that is only misspelt is not also reported as missing.
            misspelt = [((closest(str(key), cls.model_fields),), MISSING) for key in unknown]
            findings += [finding(*other) for other in findings_of(error) if other not in misspelt]
        raise ValidationError.from_exception_data(cls.__name__, findings)


def _kinds(annotation: object) -> set[object]:
    """The run-time types that an annotation allows at its top level."""
    if get_origin(annotation) is tuple:
        return {tuple}
    return {annotation}.union(*(_kinds(arg) for arg in get_args(annotation)))
