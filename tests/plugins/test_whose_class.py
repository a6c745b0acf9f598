"""A class belongs to a plugin unless its file lies in ddpmx's folder, in any of its packages."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest
from torch import nn

import ddpmx
from ddpmx.components.registry import REGISTRIES
from ddpmx.errors import SpecError
from ddpmx.models.size import check_memory
from ddpmx.plugins.guard import is_plugin
from ddpmx.process import memory

PACKAGE = Path(ddpmx.__file__).parent


@pytest.mark.parametrize("kind", REGISTRIES)
def test_components_in_the_folder_of_ddpmx_are_no_plugins(kind: str):
    registry = REGISTRIES[kind]
    components = [registry.base, *map(registry.get, registry.names())]
    ours = [component for component in components if Path(inspect.getfile(component)).is_relative_to(PACKAGE)]
    assert len(ours) > 1
    assert [
        component.__name__ for component in components if is_plugin(component) == (component in ours)
    ] == []


class Linear(ddpmx.Model):
    def build(self, channels: int, size: int) -> nn.Module:
        return nn.Linear(1000, 1000)


@pytest.mark.parametrize(
    ("module", "checked"),
    [
        ("ddpmx.models.a", True),
        ("ddpmx.models.a.b", True),
        ("ddpmx.elsewhere", True),
        ("ddpmx_more.models.a", False),
        ("a", False),
    ],
)
def test_memory_is_checked_for_networks_of_ddpmx(monkeypatch: pytest.MonkeyPatch, module: str, checked: bool):
    monkeypatch.setattr(memory, "limit", lambda: 1000)
    monkeypatch.setitem(sys.modules, module, sys.modules[__name__])
    network = type("Network", (Linear,), {"__module__": module})()
    if not checked:
        check_memory(network, lambda: network.build(1, 8))
        return
    with pytest.raises(SpecError, match="1,001,000 parameters"):
        check_memory(network, lambda: network.build(1, 8))
