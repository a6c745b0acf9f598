"""Slots, the fields of a spec that hold components: how pydantic reads, writes and describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from pydantic import Field, ValidationError
from pydantic.annotated_handlers import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ..errors import SpecError, nearest
from ..plugins.guard import is_plugin
from .in_words import finding, spec_error
from .registry import C, Component, Registry, make, method_of


class Slot:
    """The annotation of a field that holds a component: `Annotated[Schedule, Slot(SCHEDULES)]`.

    In YAML, the value is a block such as `{name: linear, timesteps: 500}`, or a bare string as short for
    `{name: string}`. A block without `name` changes parameters of `default`. `Annotated[Ema | None, …]` also
    takes null.
    """

    def __init__(self, registry: Registry[Component], default: Mapping[str, object] | None = None) -> None:
        self.registry, self.default = registry, default

    @property
    def _a_kind(self) -> str:
        """The kind with its article: `a schedule`, `an optimizer`."""
        return f"{'an' if self.registry.kind[0] in 'aeiou' else 'a'} {self.registry.kind}"

    def parse(self, value: object) -> Component:
        """Make a component from a value in YAML. Raises errors that pydantic collects."""
        if isinstance(value, Component):
            if isinstance(value, self.registry.base):
                return value
            raise PydanticCustomError("wrong_kind", "should be {kind}", {"kind": self._a_kind})
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "not_a_block",
                "should be the name of {kind} or a block with `name:`",
                {"kind": self._a_kind},
            )
        if "name" not in value and self.default is not None:
            value = {**self.default, **value}
        name = value.get("name")
        if not isinstance(name, str):
            hint = nearest(str(name), self.registry.names())
            details = [
                finding(("name",) if "name" in value else (), f"should have a `name:`, a string; {hint}")
            ]
            raise ValidationError.from_exception_data(self.registry.kind, details)
        try:
            component = self.registry.get(name)
        except SpecError as error:
            details = [finding(("name",), f"{error.message}; {error.hint}")]
            raise ValidationError.from_exception_data(self.registry.kind, details) from None
        return make(component, {key: item for key, item in value.items() if key != "name"})

    def parse_writable(self, value: object) -> Component:
        """`parse`, which also fails if a plugin's component cannot be written to a run's spec.yaml."""
        component = self.parse(value)
        if is_plugin(type(component)):
            method_of(type(component)).call(
                component.spec, lambda block: "" if isinstance(block, dict) else "should be a block"
            )
        return component

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        dump = core_schema.plain_serializer_function_ser_schema(lambda component: component.spec())
        made = core_schema.no_info_plain_validator_function(self.parse_writable, serialization=dump)
        return core_schema.nullable_schema(made) if type(None) in get_args(source) else made

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A schema for each registered component, plugins included, for completion in editors.

        A component inside one of the same kind has its name only, as the schema would have no end otherwise.
        """
        blocks: list[JsonSchemaValue] = [{"enum": self.registry.names()}]
        if schema["type"] == "nullable":
            blocks.append({"type": "null"})
        if self.registry.describing:
            return {
                "anyOf": [
                    *blocks,
                    {"type": "object", "required": ["name"], "properties": {"name": blocks[0]}},
                ]
            }
        self.registry.describing = True
        for name in self.registry.names():
            component = self.registry.get(name)
            block = component.model_json_schema()
            block.pop("$defs", None)
            block["properties"] = {"name": {"const": name}, **block.get("properties", {})}
            is_default = self.default is not None and self.default["name"] == name
            block["required"] = [*([] if is_default else ["name"]), *block.get("required", [])]
            block["title"] = name
            block["description"] = component.summary()
            blocks.append(block)
        self.registry.describing = False
        return {"anyOf": blocks}


def component_of(registry: Registry[C], value: object, field: str) -> C:
    """The component that a value means in a slot, outside of a spec. Raises SpecError at `field`."""
    try:
        return cast(C, Slot(registry).parse(value))
    except ValidationError as error:
        raise spec_error(error).at(field, None) from None
    except PydanticCustomError as error:
        raise SpecError(error.message(), field=field) from None


def default_component(block: str | dict[str, str]) -> Any:
    """The default of a slot, as a spec would write it.

    The type is Any because the component is made from it only when a spec is read.
    """
    return Field(default=block)
