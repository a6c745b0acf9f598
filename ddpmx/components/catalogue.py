"""Listings of the registered components, as text and as data."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from pydantic.json_schema import JsonSchemaValue

from ..errors import SpecError, nearest
from ..plugins.loading import load_installed
from ..text import shortened
from .registry import REGISTRIES, Component, Registry


def listing(kind: str | None = None, name: str | None = None) -> str:
    """A listing of all components, of the components of a kind, or of one component with its parameters.

    `kind` may also be the name of a component, of any kind. Raises SpecError for an unknown kind or name.
    """
    selected = _selected(kind, name)
    if name is None and not _is_kind(kind):
        return "\n\n".join(f"{registry.kind} {_component(component)}" for registry, (component,) in selected)
    return "\n\n".join(
        _kind(registry, components) if name is None else _component(components[0])
        for registry, components in selected
    )


def data(kind: str | None = None, name: str | None = None) -> list[dict[str, object]]:
    """The components that `listing` lists, each with its parameters, as JSON types."""
    return [
        {
            "kind": registry.kind,
            "name": component.component_name,
            "summary": component.summary(),
            "paper": component.paper,
            "parameters": [
                {
                    "name": field,
                    "type": type_,
                    "required": default is None,
                    "default": json.loads(default or "null"),
                    "help": text,
                }
                for field, type_, default, text in _parameters(component)
            ],
        }
        for registry, components in _selected(kind, name)
        for component in components
    ]


def _selected(kind: str | None, name: str | None) -> list[tuple[Registry[Component], list[type[Component]]]]:
    """The selected components, grouped by kind."""
    load_installed()
    if kind is None:
        return [(registry, _all(registry)) for registry in REGISTRIES.values()]
    if _is_kind(kind):
        registry = REGISTRIES[_singular(kind)]
        return [(registry, _all(registry) if name is None else [registry.get(name)])]
    if name is not None:
        message = f"no kind of component is called '{shortened(kind)}'"
        raise SpecError(message, hint=nearest(kind, REGISTRIES))
    named = [(registry, [registry.get(kind)]) for registry in REGISTRIES.values() if registry.has(kind)]
    if not named:
        names = [other for registry in REGISTRIES.values() for other in registry.names()]
        message = f"no component or kind of component is called '{shortened(kind)}'"
        raise SpecError(message, hint=nearest(kind, {*REGISTRIES, *names}))
    return named


def _all(registry: Registry[Component]) -> list[type[Component]]:
    return [registry.get(name) for name in registry.names()]


def _singular(kind: str) -> str:
    """The kind as registries spell it: `sampler` for `SAMPLERS` and `samplers`."""
    return kind if kind in REGISTRIES else kind.lower().removesuffix("s")


def _is_kind(kind: str | None) -> bool:
    return kind is None or _singular(kind) in REGISTRIES


def _kind(registry: Registry[Component], components: list[type[Component]]) -> str:
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
    """(field, type, default, help) of each parameter. The default is YAML; None if the field is required."""
    schema = component.model_json_schema()
    for field, facts in component.model_fields.items():
        default = None if facts.is_required() else _yaml(facts.get_default(call_default_factory=True))
        yield field, _type(schema["properties"][field]), default, facts.description or ""


def _yaml(value: object) -> str:
    """A default value as a spec would write it."""
    return json.dumps(value, default=lambda other: other.model_dump(mode="json"), ensure_ascii=False)


def _type(schema: JsonSchemaValue) -> str:
    """A short description of a type and its range: `integer ≥ 1`, `list of number`."""
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
