"""Sweeps that are interrupted or killed, and points that fail, with both engines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Result
from waiting import wait_for

from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ddpmx", "sweep", "tiny.yaml", *arguments]


def statuses(folder: Path) -> dict[str, list[str]]:
    return {
        point.name: [
            json.loads((run / "status.json").read_text())["status"] for run in sorted(point.glob("*/"))
        ]
        for point in sorted(folder.glob("runs/tiny/*/"))
    }


def losses(run: Path) -> list[Any]:
    return [event["loss"] for event in RunFolder(run).events() if event["event"] == "step"]


@pytest.mark.slow
def test_interrupted_and_killed_points_are_resumed_and_others_left_alone(
    ddpmx: Run, tiny: Path, tmp_path: Path
) -> None:
    """SIGKILL ends seed 0, SIGINT stops the sweep during seed 1, and then the sweep starts again."""
    tiny.write_text(TINY.replace("steps: 12", "steps: 120") + "sweep: {seed: [0, 1]}\n")

    def step(seed: int) -> bool:
        return any(
            '"step": 20' in file.read_text()
            for file in tmp_path.glob(f"runs/tiny/tiny-seed_{seed}/*/metrics.jsonl")
        )

    process = subprocess.Popen(
        command("--jobs", "1"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: step(0))
    (killed,) = tmp_path.glob("runs/tiny/tiny-seed_0/*/")
    os.kill(json.loads((killed / "status.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: step(1))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "tiny-seed_0: failed: killed by SIGKILL" in err
    assert "0 of 2 points are finished" in err
    assert "tiny-seed_1  interrupted" in out
    assert statuses(tmp_path) == {"tiny-seed_0": ["running"], "tiny-seed_1": ["interrupted"]}
    again = subprocess.run(command(), cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert again.returncode == 0, again.stderr
    assert statuses(tmp_path) == {"tiny-seed_0": ["finished"], "tiny-seed_1": ["finished"]}
    straight = ddpmx("run", tiny, "--point", "tiny-seed_1", "--out", tmp_path / "straight")
    assert straight.code == 0
    runs = [next((tmp_path / out).glob("tiny/tiny-seed_1/*/")) for out in ("runs", "straight")]
    assert losses(runs[0]) == losses(runs[1])
    logs = {log: log.read_text() for log in tmp_path.glob("runs/tiny/*.log")}
    assert subprocess.run(command(), cwd=tmp_path, capture_output=True, timeout=600, check=True).stderr == b""
    assert logs == {log: log.read_text() for log in tmp_path.glob("runs/tiny/*.log")}


@pytest.mark.slow
def test_a_point_that_fails_is_tried_again_and_the_others_run(tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(
        TINY
        + "sweep: {points: [{name: wild, train: {lr: 1e6, grad_clip: null}, loss.norm: l2}, {name: tame}]}\n"
    )
    for others in ("finished", "finished before"):
        done = subprocess.run(
            command("--jobs", "1"), cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 1, done.stderr
        assert "1 of 2 points failed" in done.stderr
        assert "tiny-wild: failed: diverged at step" in done.stderr
        assert f"tiny-tame  {others}" in done.stdout
        assert statuses(tmp_path) == {"tiny-tame": ["finished"], "tiny-wild": ["failed"]}


@pytest.mark.slow
def test_ray_runs_stops_and_resumes(tiny: Path, tmp_path: Path) -> None:
    """On a cluster that ray.init() starts on this machine."""
    tiny.write_text(TINY.replace("steps: 12", "steps: 120") + "sweep: {seed: [0, 1]}\n")
    arguments = command("--engine", "ray")
    process = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(
        lambda: any('"step": 20' in file.read_text() for file in tmp_path.glob("runs/tiny/*/*/metrics.jsonl"))
    )
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "interrupted" in [status for runs in statuses(tmp_path).values() for status in runs]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path) == {"tiny-seed_0": ["finished"], "tiny-seed_1": ["finished"]}
    assert {
        spec["seed"] for spec in (RunFolder(path).resolved() for path in tmp_path.glob("runs/tiny/*/*/"))
    } == {0, 1}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_the_points_of_a_sweep_that_dies_stop_and_are_resumed(
    tiny: Path, tmp_path: Path, number: signal.Signals
) -> None:
    tiny.write_text(TINY.replace("steps: 12", "steps: 120") + "sweep: {seed: [0, 1]}\n")
    process = subprocess.Popen(
        command("--jobs", "2"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for(
        lambda: (
            sum('"step": 20' in file.read_text() for file in tmp_path.glob("runs/tiny/*/*/metrics.jsonl"))
            == 2
        )
    )
    process.send_signal(number)
    process.communicate(timeout=600)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    # Started at once, while the old points may still be saving
    again = subprocess.run(
        command("--jobs", "2"), cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert again.returncode == 0, again.stderr
    assert statuses(tmp_path) == {"tiny-seed_0": ["finished"], "tiny-seed_1": ["finished"]}
    for run in tmp_path.glob("runs/tiny/*/*/"):
        steps = [event["step"] for event in RunFolder(run).events() if event["event"] == "step"]
        assert steps == list(range(10, 121, 10))
