"""Whatever a diffusers folder contains, `import` raises only our errors and leaves nothing incomplete behind.

tools/fuzz_import.py runs the same for longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("diffusers")

from diffusers_folders import Files, attempt, edits, sound


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return sound(tmp_path_factory.mktemp("sound"))


def test_the_unchanged_folder_is_imported(files: Files, tmp_path: Path) -> None:
    assert attempt(files, [], tmp_path / "in")


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.data())
def test_a_folder_with_faults(files: Files, tmp_path: Path, data: st.DataObject) -> None:
    attempt(files, data.draw(edits(files)), tmp_path / "in")
