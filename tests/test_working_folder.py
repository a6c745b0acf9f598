"""Nothing is imported from the working folder, whose files may be a stranger's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddpmx import __file__ as package

ROOT = Path(package).parents[1]
SHADOWS = [
    "click",
    "torch",
    "pydantic",
    "ruamel",
    "numpy",
    "json",
    "typing",
    "__future__",
    "importlib",
    "safetensors",
    "rich",
    "csv",
]


@pytest.mark.parametrize("pythonpath", ["", f"{os.pathsep}.", os.pathsep])
def test_nothing_is_imported_from_the_working_folder(tiny: Path, pythonpath: str) -> None:
    """Every second name is a package. `--version` imports click, `validate` the others."""
    place = tiny.parent
    # Python itself reads PYTHONPATH before ddpmx can change the path.
    for index, name in enumerate(["click"] if pythonpath else SHADOWS):
        file = place / f"{name}.py" if index % 2 else place / name / "__init__.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"raise SystemExit('{name} of the working folder')")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{pythonpath}"}
    command = ["--version"] if pythonpath else ["validate", tiny.name]
    done = subprocess.run(
        [sys.executable, "-m", "ddpmx", *command],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
