"""A run whose folder is deleted or moved exits with 1, says what happened, and never recreates the folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Result, only_run

from ddpmx.pages import plots
from ddpmx.runs import active_run, milestones
from ddpmx.storage import checkpoint
from ddpmx.storage.folder import RunFolder
from ddpmx.storage.row_log import RowLog

MOMENTS: dict[str, tuple[Any, str, int]] = {
    "before the first figures": (plots, "write", 1),
    "before a checkpoint": (checkpoint, "save", 1),
    "before an event": (RunFolder, "add_event", 2),
    "before a row": (RowLog, "add", 1),
    "before the final grid": (milestones, "class_grid", 2),
    "before its status": (RunFolder, "set_status", 2),
    "before it is pruned": (active_run.checkpoint_folder, "prune", 1),
}
CASES = [*((moment, "deleted") for moment in MOMENTS), ("before a checkpoint", "moved")]


@pytest.mark.parametrize(("moment", "way"), CASES)
def test_a_folder_that_is_gone(
    ddpmx: Callable[..., Result],
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    way: str,
) -> None:
    owner, name, count = MOMENTS[moment]
    real, calls = getattr(owner, name), []
    out = tmp_path / "runs"

    def called(*arguments: Any, **options: Any) -> Any:
        calls.append(calls[0] if calls else only_run(out))
        if len(calls) == count:
            shutil.rmtree(calls[0]) if way == "deleted" else calls[0].rename(tmp_path / "moved")
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, called)
    tiny.write_text(TINY.replace("steps: 12", "steps: 2"))
    result = ddpmx("run", tiny, "--out", out)
    assert result.code == 1, result.err
    assert f"{calls[0]} no longer exists" in result.err
    assert "deleted or moved during the run" in result.err
    assert "Traceback" not in result.err
    assert not calls[0].exists()
