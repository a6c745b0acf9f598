"""The registered components as text."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from .errors import SpecError, nearest
from .plugins import load_installed
from .registry import REGISTRIES, Component, Registry


def describe(kind: str | None = None, name: str | None = None) -> str:
    """All components, those of a kind, or one with its parameters. Raises SpecError for an unknown kind or name."""
    load_installed()
    if kind is None:
        return "\n\n".join(_kind(registry) for registry in REGISTRIES.values())
    singular = kind if kind in REGISTRIES else kind.removesuffix("s")
    if singular not in REGISTRIES:
        raise SpecError(f"no kind of component is called '{kind}'", hint=nearest(kind, REGISTRIES))
    registry = REGISTRIES[singular]
    return _kind(registry) if name is None else _component(registry.get(name))


def _kind(registry: Registry[Any]) -> str:
    components = [registry.get(name) for name in registry.names()]
    width = max(len(component.component_name) for component in components)
    return "\n".join([registry.kind, *(f"  {c.component_name:<{width}}  {c.summary()}" for c in components)])


def _component(component: type[Component]) -> str:
    lines = [f"{component.component_name}: {component.summary()}"]
    lines += [f"paper: {component.paper}"] if component.paper else []
    schema = component.model_json_schema()
    for field, facts in component.model_fields.items():
        default = "required" if facts.is_required() else f"default {_yaml(facts.get_default(call_default_factory=True))}"
        lines += [f"  {field}: {_type(schema['properties'][field])}, {default}"]
        lines += [textwrap.indent(facts.description, " " * 6)] if facts.description else []
    return "\n".join(lines)


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
