"""Runs that are killed, stopped or locked: a resumed run gives the results of an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SHORT, TINY, epochs, last, only_run
from forked import NEVER, Death, command, differing, ended, outcome, start
from safetensors.torch import load_file

from ddpmx.storage.folder import RunFolder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(SHORT)
    code, said = command(folder, "run", "tiny.yaml", death=Death("runs", NEVER))
    assert code == 0, said
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(SHORT)
    return tmp_path


def kinds(run: Path, epoch: int) -> list[str]:
    """The kinds of an epoch's events so far."""
    return [
        event["event"]
        for event in RunFolder(run).events()
        if event.get("epoch") == epoch and event["event"] != "step"
    ]


# A moment is defined by the file operation that it precedes, and checked by the state that it leaves.
MOMENTS: dict[str, tuple[Death, Callable[[Path], bool]]] = {
    "before any checkpoint": (
        Death("checkpoints/.2.", operation="os.mkdir"),
        lambda run: not list((run / "checkpoints").iterdir()),
    ),
    "a checkpoint's last file missing": (
        Death("state.json", 3, "open"),
        lambda run: last(run) == "2" and len(list((run / "checkpoints").glob(".4.*/*"))) == 3,
    ),
    "checkpoint written, not named": (
        Death("checkpoints/.4.", operation="os.rename"),
        lambda run: last(run) == "2" and not (run / "checkpoints" / "4").exists(),
    ),
    "named, not linked": (
        Death("checkpoints/.last.", 2, "os.rename"),
        lambda run: last(run) == "2" and (run / "checkpoints" / "4").exists(),
    ),
    "between rename and grid": (
        Death("epoch-0002.png", operation="open"),
        lambda run: last(run) == "4" and not kinds(run, 2),
    ),
    "between grid and row": (
        Death("metrics.jsonl", 9, "open"),
        lambda run: kinds(run, 2) == ["samples", "per_t"],
    ),
    "between row and log": (
        Death("/log.csv", 2, "open"),
        lambda run: kinds(run, 2)[-1] == "epoch" and len((run / "log.csv").read_text().splitlines()) == 2,
    ),
    "after training": (
        Death("final.png", operation="open"),
        lambda run: last(run) == "7" and kinds(run, 4)[-1] == "epoch",
    ),
}


FAST = ("named, not linked",)


@pytest.mark.parametrize(
    "moment",
    [moment if moment in FAST else pytest.param(moment, marks=pytest.mark.slow) for moment in MOMENTS],
)
def test_killed_at_an_exact_moment_and_resumed(moment: str, place: Path, undisturbed: Path) -> None:
    death, left = MOMENTS[moment]
    code, said = command(place, "run", "tiny.yaml", death=death)
    assert code == -signal.SIGKILL, said
    run = only_run(place / "runs")
    assert left(run)
    code, said = command(place, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    assert "resuming " in said
    assert differing(run, only_run(undisturbed / "runs")) == []
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(Death("report.html"), marks=pytest.mark.slow),
        pytest.param(Death("status.json", 2, "os.rename"), marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_while_it_finishes_is_completed(death: Death, place: Path, undisturbed: Path) -> None:
    """Killed before its report, and between the report and the status `finished`."""
    assert command(place, "run", "tiny.yaml", death=death)[0] == -signal.SIGKILL
    run = only_run(place / "runs")
    assert (run / "report.html").exists() == (death.part == "status.json")
    assert json.loads((run / "status.json").read_text())["status"] == "running"
    code, said = command(place, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    assert only_run(place / "runs") == run
    assert '<span class="status finished">' in (run / "report.html").read_text()
    assert differing(run, only_run(undisturbed / "runs")) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_killed_at_random_moments_and_resumed(seed: int, place: Path, undisturbed: Path) -> None:
    """Killed at a random file operation or after a random time; one time in three, killed a second time."""
    draw = random.Random(seed)
    operations = int((undisturbed / "operations").read_text())
    arguments = ("run", "tiny.yaml", "--resume")
    for _ in range(draw.choice((1, 1, 2))):
        if draw.random() < 0.5:
            code, said = command(place, *arguments, death=Death("runs", draw.randint(1, operations)))
        else:
            process = start(place, *arguments)
            while not list(place.glob("runs/*/*/status.json")):
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 1.5))
            process.kill()
            code, said = ended(process), ""
        assert code in (0, -signal.SIGKILL), said
        if any('"finished"' in file.read_text() for file in place.glob("runs/*/*/status.json")):
            break  # it finished before the kill, so --resume alone would not resume it
    # Resume the run that the kills left, finished or not; after a very early kill there is none yet.
    named = ("--run", only_run(place / "runs")) if list(place.glob("runs/*/*/spec.yaml")) else ()
    code, said = command(place, *arguments, *named)
    assert code == 0, said
    assert differing(only_run(place / "runs"), only_run(undisturbed / "runs")) == []


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.replace("steps: 12", "steps: 5000"))
    process = start(tmp_path, "run", "tiny.yaml")
    while not any('"step": 10' in path.read_text() for path in tmp_path.glob("runs/*/*/metrics.jsonl")):
        assert process.exitcode is None, (tmp_path / "said").read_text()
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, number)
    assert ended(process) == 130
    run = only_run(tmp_path / "runs")
    assert json.loads((run / "status.json").read_text())["status"] == "interrupted"
    assert int(last(run)) >= 10
    assert (
        f"saved: {run.relative_to(tmp_path)}/checkpoints/last (step {last(run)})"
        in (tmp_path / "said").read_text()
    )


@pytest.mark.slow
def test_a_stop_at_the_last_step_still_validates(place: Path, undisturbed: Path) -> None:
    """The request comes during step 7 of 7: the step is saved, and the resumed run writes the last row."""
    (place / "stop.py").write_text(
        "import os, signal\nimport ddpmx.training.step\ninner = ddpmx.training.step.step_loss\n"
        "def step_loss(experiment, network, batch, weighting=None):\n"
        "    if batch.noise.stream % 2**24 == 6 and not os.path.exists('asked'):\n"
        "        open('asked', 'w').close()\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return inner(experiment, network, batch, weighting)\n"
        "ddpmx.training.step.step_loss = step_loss\n"
    )
    (place / "tiny.yaml").write_text(SHORT + "plugins: [stop.py]\n")
    code, said = command(place, "run", "tiny.yaml")
    run = only_run(place / "runs")
    assert (code, last(run)) == (130, "7"), said
    assert [row["step"] for row in epochs(run)] == [2, 4, 6]
    code, said = command(place, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    assert differing(run, only_run(undisturbed / "runs")) == []


def test_the_lock_is_held_by_a_living_process_only(place: Path) -> None:
    (place / "tiny.yaml").write_text(SHORT.replace("steps: 7", "epochs: 5000"))
    first = start(place, "run", "tiny.yaml")
    while not list(place.glob("runs/*/*/checkpoints/4")):
        assert first.exitcode is None, (place / "said").read_text()
        time.sleep(0.005)
    code, said = command(place, "run", "tiny.yaml", "--resume")
    assert code == 2
    assert "another process is working on" in said
    assert first.exitcode is None
    first.kill()
    assert ended(first) == -signal.SIGKILL
    code, said = command(place, "run", "tiny.yaml", "--resume", "-s", "train.epochs=1")
    assert code == 0, said
    assert len(list(place.glob("runs/*/*/spec.yaml"))) == 1


@pytest.mark.slow
def test_killed_on_two_processes_and_resumed_on_one(place: Path, undisturbed: Path) -> None:
    launcher = (
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(20000 + os.getpid() % 20000),
    )
    group = subprocess.Popen(
        [sys.executable, *launcher, "-m", "ddpmx", "run", "tiny.yaml", "--device", "cpu"],
        cwd=place,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    while not list(place.glob("runs/*/*/checkpoints/4")):
        assert group.poll() is None
        time.sleep(0.01)
    children = subprocess.run(
        ["pgrep", "-P", str(group.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    for pid in [*map(int, children), group.pid]:
        os.kill(pid, signal.SIGKILL)
    group.wait()
    code, said = command(place, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    resumed, whole = outcome(only_run(place / "runs")), outcome(only_run(undisturbed / "runs"))
    for a, b in zip(resumed["events"], whole["events"], strict=True):
        assert (a["event"], a["step"], a.get("images")) == (b["event"], b["step"], b.get("images"))
        # different data, timesteps or noise would change these far more
        for key in {"loss", "train_loss", "val_loss", "grad_norm"} & a.keys():
            assert a[key] == pytest.approx(b[key], rel=1e-4), (a["event"], a["step"], key)
    for file in ("model", "ema"):
        one, two = (
            load_file(only_run(folder / "runs") / f"checkpoints/last/{file}.safetensors")
            for folder in (place, undisturbed)
        )
        for name in one:
            # after 7 steps of 1e-3
            torch.testing.assert_close(one[name], two[name], rtol=0, atol=2e-4, msg=f"{file} {name}")
