"""Whatever hypothesis puts into a run's folder, commands raise only our errors.

tools/fuzz_runs.py runs the same for longer.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_damage import COMMANDS, damage

from ddpmx.errors import RunError, SpecError

QUICK = [name for name in COMMANDS if name not in ("report", "page")]


def survives(trained: Path, tmp_path: Path, data: st.DataObject, commands: list[str]) -> None:
    run = tmp_path / "runs" / "tiny" / trained.name
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    shutil.copytree(trained, run, symlinks=True)
    damage(data, run)
    for name in commands:
        with suppress(SpecError, RunError):
            COMMANDS[name](run, trained.parents[1] / "tiny.yaml")


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_reading_a_damaged_run(trained: Path, tmp_path: Path, data: st.DataObject) -> None:
    survives(trained, tmp_path, data, QUICK)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_pages_of_a_damaged_run(trained: Path, tmp_path: Path, data: st.DataObject) -> None:
    survives(trained, tmp_path, data, ["report", "page"])
