"""Logs of any length: a reader's memory hardly grows with the number of lines."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import epoch, make_run, per_t, score

from ddpmx.comparison.results import read_run
from ddpmx.storage.folder import RunFolder
from ddpmx.storage.history import MOST_PER_T, MOST_POINTS, ROWS, History, plotted_indices

FEW, MANY = 2_000, 22_000


def line(number: int) -> dict[str, Any]:
    if number % 10:
        return {
            "event": "step",
            "epoch": 1,
            "step": number,
            "images": number,
            "loss": 1.0 / number,
            "lr": 0.1,
            "grad_norm": 1.0,
        }
    if number % 20:
        return {**per_t(number), "step": number}
    return {**epoch(number, 1.0, {"fid": score(2.0)}), "step": number}


def long_run(out: Path, lines: int) -> Path:
    run = make_run(out, epochs=0)
    with (run / "metrics.jsonl").open("w") as file:
        file.writelines(json.dumps(line(number)) + "\n" for number in range(1, lines + 1))
    return run


READERS: dict[str, Callable[[Path], object]] = {
    "compare": read_run,
    "report": lambda run: History.from_events(RunFolder(run).events()),
    "resume": lambda run: RunFolder(run).cut_after(10**6, 10**6),
    "log.csv": lambda run: RunFolder(run).rows.write(),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_each_line_costs_a_few_numbers(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    """As a dictionary, a line would take 500 bytes or more: a gigabyte for 2 million lines."""
    peaks = {}
    for lines in (FEW, MANY):
        run = long_run(tmp_path / str(lines), lines)
        reader(run)  # creates what is cached, such as the types
        tracemalloc.start()
        kept = reader(run)
        peaks[lines] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del kept
    assert peaks[MANY] - peaks[FEW] < 60 * (MANY - FEW)


def test_what_is_kept_of_a_long_log_is_exact(tmp_path: Path) -> None:
    events = [line(number) for number in range(1, MANY + 1)]
    history = History.from_events(events)
    rows = [event for event in events if event["event"] == "epoch"]
    assert history.epochs == len(rows)
    assert list(history.rows) == rows[-ROWS:]
    assert history.seconds == sum(row["seconds"] for row in rows)
    assert list(history.curves["fid"].values) == [row["metrics"]["fid"] for row in rows]
    assert list(history.losses) == [event["loss"] for event in events if event["event"] == "step"]
    evaluations = [event for event in events if event["event"] == "per_t"]
    assert history.all_per_t[0] == evaluations[0]
    assert history.all_per_t[-1] == history.last_per_t == evaluations[-1]
    assert MOST_PER_T // 2 <= len(history.all_per_t) <= MOST_PER_T + 1
    gaps = np.diff([event["step"] for event in history.all_per_t[:-1]])
    assert len(set(gaps)) == 1


@pytest.mark.parametrize("count", [1, 2, MOST_POINTS, MOST_POINTS + 1, 10 * MOST_POINTS + 3])
def test_a_longer_curve_is_plotted_at_many_of_the_same_epochs(count: int) -> None:
    epochs = np.arange(1.0, count + 1)
    indices = plotted_indices(epochs)
    assert len(indices) <= MOST_POINTS + 1
    assert indices[-1] == count - 1
    assert indices == sorted(set(indices))
    if count <= MOST_POINTS:
        assert indices == list(range(count))
    longer = {index + 1 for index in plotted_indices(np.arange(1.0, 4 * count + 1))}
    assert len(longer & {index + 1 for index in indices}) >= min(count, MOST_POINTS) // 8
