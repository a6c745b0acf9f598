"""The engine that runs a sweep's points on this machine: slots, failures and stopping."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from waiting import wait_for

from ddpmx.process.stop import StopSignal
from ddpmx.sweeps.jobs import run_jobs
from ddpmx.sweeps.local import Job, LocalEngine, divide_cores, slots
from ddpmx.terminal.console import Bar


@pytest.mark.parametrize("cores", [1, 2, 7, 64])
@pytest.mark.parametrize("points", [1, 3, 12])
@pytest.mark.parametrize("jobs", [None, 1, 5])
@pytest.mark.parametrize("setting", ["", "1", "4"])
def test_points_share_the_cores(
    cores: int, points: int, jobs: int | None, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    threads, at_once = divide_cores(cores, points, jobs)
    assert 1 <= at_once <= points
    assert threads == int(setting) if setting else threads >= 1
    if jobs is None:
        assert threads * at_once <= cores or at_once == 1  # no core has two threads
        assert at_once == points or (at_once + 1) * threads > cores  # and no further point fits
    else:
        assert at_once == min(jobs, points)


def test_no_job_is_started_after_the_deadline(tmp_path: Path) -> None:
    jobs = [Job(name, ("true",), tmp_path / f"{name}.log") for name in ("a", "b", "c")]
    result = {job.name: "not started" for job in jobs}
    with StopSignal() as stop, Bar(quiet=True) as bar, LocalEngine([{}]) as engine:
        assert not run_jobs(jobs[:1], engine, stop, bar, result, deadline=time.monotonic() + 3600)
        assert not run_jobs(jobs[1:], engine, stop, bar, result, deadline=time.monotonic())
    assert result == {"a": "finished", "b": "not started", "c": "not started"}


def test_one_process_per_visible_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    visible = "CUDA_VISIBLE_DEVICES"
    assert slots(9, None, None) == [{visible: "0"}, {visible: "1"}, {visible: "2"}]
    assert slots(2, None, None) == [{visible: "0"}, {visible: "1"}]
    monkeypatch.setenv(visible, "5,MIG-a")
    assert slots(9, 3, None) == [{visible: "5"}, {visible: "MIG-a"}, {visible: "5"}]
    assert all("OMP_NUM_THREADS" in slot for slot in slots(9, None, "cpu"))


def run_all(
    folder: Path, scripts: list[str], room: int, before: Callable[[], None] | None = None
) -> dict[str, str]:
    """The statuses of shell scripts that run as jobs."""
    jobs = [
        Job(f"job{index}", ("sh", "-c", script), folder / f"job{index}.log")
        for index, script in enumerate(scripts)
    ]
    result = {job.name: "not started" for job in jobs}
    with (
        LocalEngine([{"SLOT": str(index)} for index in range(room)]) as engine,
        StopSignal() as stop,
        Bar() as bar,
    ):
        if before:
            threading.Thread(target=before, daemon=True).start()
        run_jobs(jobs, engine, stop, bar, result)
    return result


def test_a_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    failing = (
        "echo noise; echo 'failed: diverged at step 3' >&2; "
        "echo 'failed at step 3; no checkpoint' >&2; exit 1"
    )
    result = run_all(
        tmp_path,
        ["exit 0", failing, "echo 'error: f.yaml:3: bad'; exit 2", "kill -9 $$", "exit 7", "exit 0"],
        room=2,
    )
    assert list(result.values()) == [
        "finished",
        "failed: diverged at step 3",
        "failed: error: f.yaml:3: bad",
        "failed: killed by SIGKILL",
        "failed: exit code 7",
        "finished",
    ]


def test_there_are_never_more_at_once_than_slots_and_each_has_its_own(tmp_path: Path) -> None:
    log = tmp_path / "order"
    run_all(tmp_path, [f"echo + $SLOT >> {log}; sleep 0.2; echo - $SLOT >> {log}"] * 5, room=2)
    busy: set[str] = set()
    for line in log.read_text().splitlines():
        sign, slot = line.split()
        assert (slot in busy) == (sign == "-")
        busy ^= {slot}
    assert log.read_text().count("+") == 5


def test_ctrl_c_lets_the_running_ones_save_and_starts_no_more(tmp_path: Path) -> None:
    saving = (
        f"trap 'echo saved >> {tmp_path}/saved; exit 130' TERM; "
        f"touch {tmp_path}/$SLOT; while true; do sleep 0.05; done"
    )

    def interrupt() -> None:
        wait_for(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
        os.kill(os.getpid(), signal.SIGINT)

    result = run_all(tmp_path, [saving] * 4, room=2, before=interrupt)
    assert list(result.values()) == ["interrupted", "interrupted", "not started", "not started"]
    assert (tmp_path / "saved").read_text() == "saved\nsaved\n"


def test_an_exception_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), LocalEngine([{}]) as engine:  # noqa: PT012
        engine.start(Job("a", ("sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"), tmp_path / "a.log"))
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
        _ = 1 / 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_job_knows_which_process_it_must_not_outlive(tmp_path: Path) -> None:
    run_all(tmp_path, ["echo $DDPMX_PARENT"], room=1)
    assert (tmp_path / "job0.log").read_text().splitlines()[-1] == str(os.getpid())
