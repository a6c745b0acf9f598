"""A run of very many epochs: memory and open files do not grow, and the log is complete."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conftest import TINY, epochs, only_run
from forked import ended, start

EPOCHS = 2000
WARM = 60
"""Epochs until the allocator's memory has settled."""


@pytest.mark.slow
def test_memory_and_file_handles_stay_flat(tmp_path: Path) -> None:
    text = TINY.replace("dataset: digits", "dataset: {name: digits, limit: 64}").replace(
        "steps: 12", f"epochs: {EPOCHS}"
    )
    (tmp_path / "tiny.yaml").write_text(text.replace("grid: 4", "grid: 1"))
    process = start(tmp_path, "run", "tiny.yaml")
    seen: list[tuple[int, float, int]] = []  # epoch, MB, open files
    while process.exitcode is None:
        rows = list(tmp_path.glob("runs/*/*/log.csv"))
        done = len(rows[0].read_text().splitlines()) - 1 if rows else 0
        if WARM <= done < EPOCHS - 5:
            try:
                memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096 / 1e6
                seen.append((done, memory, len(list(Path(f"/proc/{process.pid}/fd").iterdir()))))
            except (FileNotFoundError, IndexError, ProcessLookupError):
                break
        time.sleep(0.2)
    assert ended(process) == 0, (tmp_path / "said").read_text()
    quarter = len(seen) // 4
    first, later = seen[:quarter], seen[-quarter:]
    assert max(files for _, _, files in later) <= max(files for _, _, files in first)
    assert max(memory for _, memory, _ in later) < max(memory for _, memory, _ in first) + 12
    run = only_run(tmp_path / "runs")
    assert [row["epoch"] for row in epochs(run)] == list(range(1, EPOCHS + 1))
    assert len((run / "log.csv").read_text().splitlines()) == EPOCHS + 1
    assert (run / "report.html").stat().st_size < 3e6
