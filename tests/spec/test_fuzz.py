"""Specs and overrides that hypothesis generates raise nothing but SpecError. tools/fuzz_spec.py runs for
longer."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddpmx.components.registry import REGISTRIES
from ddpmx.errors import SpecError
from ddpmx.spec.checks import check
from ddpmx.spec.loading import load
from ddpmx.spec.yaml_source import parse
from ddpmx.storage.folder import to_yaml
from ddpmx.sweeps.points import load_all

COMPONENTS = [
    (kind, registry.get(name)) for kind, registry in REGISTRIES.items() for name in registry.names()
]
NAMES = sorted(
    {field for _, component in COMPONENTS for field in (*component.model_fields, component.component_name)}
)
BASE = parse(
    TINY
    + "loss: {weighting: {name: vlb, clip: 1.0}}\ntrack: [{name: jsonl, path: x}]\nsweep: {seed: [0, 1]}\n",
    "",
).data
quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.sampled_from(NAMES),
    st.text(max_size=12),
    st.sampled_from(["", "\0", "..", "/dev/zero", "~", "a" * 5000]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", *NAMES]) | st.text(max_size=5), inner, max_size=3)
    ),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(TINY)
    return tmp_path / "spec.yaml"


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Each (container, key) inside the data, at any depth."""
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from places(data[key])


def only_spec_errors(file: Path, overrides: list[str] | None = None) -> bool:
    """Whether the spec is valid. Any exception other than SpecError fails the test."""
    try:
        for spec in load_all(file, overrides or []):
            check(spec)
            text = to_yaml(spec.resolved())
            file.with_name("again.yaml").write_text(text)
            assert load(file.with_name("again.yaml")).resolved() == spec.resolved()
    except SpecError as error:
        str(error).encode()
        return False
    return True


@quick
@given(st.data())
def test_changed_values_keys_and_structure(file: Path, data: st.DataObject) -> None:
    spec = copy.deepcopy(BASE)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(spec))))
        change = data.draw(st.sampled_from(["value", "value", "key", "remove"]))
        if change == "value":
            container[key] = data.draw(values)
        elif change == "remove":
            del container[key]
        elif isinstance(container, dict):
            container[data.draw(st.sampled_from(["plugins", "extends", *NAMES]) | st.text(max_size=8))] = (
                container.pop(key)
            )
    spec.pop("plugins", None)  # a module of that name would be imported
    try:
        text = to_yaml(spec)
        file.write_text(text, encoding="utf-8")
    except (UnicodeEncodeError, ValueError):
        return
    only_spec_errors(file)


@quick
@given(st.data())
def test_cut_and_spliced_text(file: Path, data: st.DataObject) -> None:
    text = "extends: base.yaml\n" + TINY
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            st.sampled_from(
                [
                    "\n",
                    ": ",
                    "{",
                    "}",
                    "[",
                    "]",
                    "&a ",
                    "*a",
                    "!!x ",
                    "<<: ",
                    "'",
                    '"',
                    "|",
                    "? ",
                    "- ",
                    "#",
                    "\t",
                ]
            )
            | st.text(max_size=4)
        )
        text = text[:at] + piece + text[at + data.draw(st.integers(0, 8)) :]
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    only_spec_errors(file)


@quick
@given(st.binary(max_size=60))
def test_bytes(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert not only_spec_errors(file)


@quick
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([*BASE, "0", *NAMES]), min_size=1, max_size=3),
            st.text(max_size=10) | scalars.map(str),
        ),
        max_size=3,
    )
)
def test_overrides(file: Path, overrides: list[tuple[list[str], str]]) -> None:
    file.write_text(TINY)
    only_spec_errors(
        file, [f"{'.'.join(keys)}={value}" for keys, value in overrides if "plugins" not in keys]
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(COMPONENTS), st.data())
def test_parameters_of_components(component: tuple[str, Any], data: st.DataObject) -> None:
    kind, cls = component
    parameters = {name: data.draw(values) for name in cls.model_fields if data.draw(st.booleans())}
    with suppress(SpecError):
        REGISTRIES[kind].build(cls.component_name, **parameters)
