"""The field `sampler.clip`: a number, null, or dynamic thresholding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ..components.strict import Strict
from ..rows import DynamicClip


class _Dynamic(Strict):
    name: Literal["dynamic"]
    """Selects dynamic thresholding (Saharia et al. 2022, arXiv:2205.11487)."""
    percentile: float = Field(0.995, gt=0, le=1)
    """The percentile of an image's |x_0| that bounds it, as a fraction of 1."""


class _ClipField:
    """Tells pydantic how to read, write and describe the field."""

    def parse(self, value: object) -> float | DynamicClip | None:
        """The field's value. Raises errors that pydantic collects."""
        if value is None or isinstance(value, DynamicClip):
            return value
        if isinstance(value, Mapping | str):
            block = _Dynamic.model_validate({"name": value} if isinstance(value, str) else value)
            return DynamicClip(block.percentile)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise PydanticCustomError(
                "clip",
                "should be a number greater than 0, null, dynamic, or {name: dynamic, percentile: 0.995}",
            )
        return float(value)

    def dump(self, value: float | DynamicClip | None) -> object:
        """The value as a spec writes it."""
        return (
            {"name": "dynamic", "percentile": value.percentile} if isinstance(value, DynamicClip) else value
        )

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        dump = core_schema.plain_serializer_function_ser_schema(self.dump)
        return core_schema.no_info_plain_validator_function(self.parse, serialization=dump)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        return {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "null"},
                {"const": "dynamic"},
                _Dynamic.model_json_schema(),
            ]
        }


Clip = Annotated[float | DynamicClip | None, _ClipField()]
