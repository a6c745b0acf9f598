"""The registered components as text and as data."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from .errors import SpecError, nearest
from .plugins import load_installed
from .registry import REGISTRIES, Component, Registry


def describe(kind: str | None = None, name: str | None = None) -> str:
    """All components, those of a kind, or one with its parameters. Raises SpecError for an unknown kind or name."""
    registries = _registries(kind)
    return "\n\n".join(_kind(registry) for registry in registries) if name is None else _component(registries[0].get(name))


def data(kind: str | None = None, name: str | None = None) -> list[dict[str, Any]]:
    """The same components, each with its parameters, as JSON types."""
    return [
        {
            "kind": registry.kind,
            "name": component.component_name,
            "summary": component.summary(),
            "paper": component.paper,
            "parameters": [
                {"name": field, "type": type_, "required": default is None, "default": json.loads(default or "null"), "help": text}
                for field, type_, default, text in _parameters(component)
            ],
        }
        for registry in _registries(kind)
        for component in map(registry.get, registry.names() if name is None else [name])
    ]


def _registries(kind: str | None) -> list[Registry[Any]]:
    load_installed()
    if kind is None:
        return list(REGISTRIES.values())
    singular = kind if kind in REGISTRIES else kind.removesuffix("s")
    if singular not in REGISTRIES:
        raise SpecError(f"no kind of component is called '{kind}'", hint=nearest(kind, REGISTRIES))
    return [REGISTRIES[singular]]


def _kind(registry: Registry[Any]) -> str:
    components = [registry.get(name) for name in registry.names()]
    width = max(len(component.component_name) for component in components)
    return "\n".join([registry.kind, *(f"  {c.component_name:<{width}}  {c.summary()}" for c in components)])


def _component(component: type[Component]) -> str:
    lines = [f"{component.component_name}: {component.summary()}"]
    lines += [f"paper: {component.paper}"] if component.paper else []
    for field, type_, default, text in _parameters(component):
        lines += [f"  {field}: {type_}, {'required' if default is None else f'default {default}'}"]
        lines += [textwrap.indent(text, " " * 6)] if text else []
    return "\n".join(lines)


def _parameters(component: type[Component]) -> Iterator[tuple[str, str, str | None, str]]:
    """(field, type, default, help) of each; the default as a spec would write it, None for none."""
    schema = component.model_json_schema()
    for field, facts in component.model_fields.items():
        default = None if facts.is_required() else _yaml(facts.get_default(call_default_factory=True))
        yield field, _type(schema["properties"][field]), default, facts.description or ""


def _yaml(value: Any) -> str:
    """A default as a spec would write it."""
    return json.dumps(value, default=lambda other: other.model_dump(mode="json"), ensure_ascii=False)


def _type(schema: dict[str, Any]) -> str:
    """A JSON Schema in a few words, ranges included."""
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    if schema.get("type") == "object":
        return f"block of {', '.join(schema['properties'])}" if "properties" in schema else "block"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = " ".join(f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema)
    return " ".join(filter(None, [str(schema.get("type", "any")), bounds]))
