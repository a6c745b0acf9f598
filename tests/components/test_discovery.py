"""Adding a component of any kind takes only a file in the kind's package, and discovery imports nothing
heavy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ddpmx
from ddpmx.components.registry import REGISTRIES

KINDS = {name: f"{name}s" if name != "dataset" else "data" for name in REGISTRIES}
"""The package of each kind."""
HEAVY = {"datasets", "diffusers", "matplotlib", "pyarrow", "scipy", "sklearn", "torch_fidelity"}
REPORT = """
import json, sys
from ddpmx.components.registry import REGISTRIES
found = [kind for kind, registry in REGISTRIES.items() if registry.has("dropped_in")]
print(json.dumps({"found": found, "loaded": list(sys.modules)}))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The kinds whose new component a copy of ddpmx finds, and the modules that it imports.

    The copy has one additional file for each kind.
    """
    copy = tmp_path_factory.mktemp("copy") / "ddpmx"
    shutil.copytree(
        Path(ddpmx.__file__).parent,
        copy,
        copy_function=os.symlink,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name, registry in REGISTRIES.items():
        base = registry.base.__name__
        (copy / KINDS[name] / "dropped_in.py").write_text(
            f"from ..components.registry import {name.upper()}S\n"
            f"from . import {base}\n\n"
            f"@{name.upper()}S.register('dropped_in')\n"
            f"class DroppedIn({base}):\n"
            "    '''One more.'''\n"
        )
    environment = {**os.environ, "PYTHONPATH": str(copy.parent)}
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        env=environment,
        cwd=copy.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_in_the_package_registers_its_component(report: dict[str, list[str]], kind: str):
    assert kind in report["found"]


def test_finding_all_components_loads_no_heavy_library(report: dict[str, list[str]]):
    assert HEAVY.isdisjoint(report["loaded"])
