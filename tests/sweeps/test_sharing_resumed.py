"""Shared trainings and the runs on disk: those of older versions, interrupted and killed ones, failures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result
from shared_sweeps import (
    FIRST,
    OTHERS,
    SAMPLERS,
    evaluations,
    final_metrics,
    points,
    runs,
    status,
    trained_alone,
    with_checkpoints,
    without_training,
    write,
)
from waiting import wait_for

from ddpmx.errors import RunError
from ddpmx.runs import measured
from ddpmx.runs.active_run import ActiveRun
from ddpmx.runs.known_runs import finished_runs
from ddpmx.storage.folder import RunFolder
from ddpmx.sweeps.trainings import Progress, Remaining, announcement, trainings_of

Run = Callable[..., Result]


@pytest.fixture
def copy(shared: Path, tmp_path: Path) -> Path:
    """A copy of the shared sweep that a test may change."""
    shutil.copytree(shared, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path


def test_a_training_of_a_single_run_is_used_by_a_later_sweep(
    ddpmx: Run, shared: Path, tmp_path: Path
) -> None:
    spec = points(shared).points[0]
    run = trained_alone(spec.model_copy(update={"name": "single"}), tmp_path / "runs")
    result = ddpmx("run", write(tmp_path, SAMPLERS), "--point", OTHERS[2], "--out", tmp_path / "runs")
    assert result.code == 0, result.err
    (made,) = tmp_path.glob(f"runs/tiny/{OTHERS[2]}/*/")
    assert json.loads((made / "training.json").read_text())["run"] == os.path.relpath(run, made)
    assert final_metrics(made) == final_metrics(runs(shared / "runs")[OTHERS[2]])
    # the first point is that very run, so it is finished
    assert list(finished_runs(points(tmp_path).points, tmp_path / "runs")) == [FIRST, OTHERS[2]]


@pytest.mark.slow
def test_points_that_an_older_version_trained_stay_as_they_are(ddpmx: Run, tmp_path: Path) -> None:
    """One is finished and one was interrupted; the interrupted one completes its own training."""
    spec, out = write(tmp_path, SAMPLERS), tmp_path / "runs"
    grid = points(tmp_path)
    kept = trained_alone(grid.points[2], out / "tiny")
    begun = trained_alone(grid.points[1], out / "tiny")
    RunFolder(begun).set_status("interrupted")
    before = {file: file.stat().st_mtime_ns for file in kept.rglob("*")}
    progress = Progress.look(grid.points, out, out / "tiny")
    (training,) = trainings_of(grid.points)
    remaining = Remaining.of(training, progress)
    assert remaining.trained == kept
    assert [spec.name for spec in remaining.jobs(training)] == [FIRST, OTHERS[0]]
    assert "2 trainings" not in "\n".join(announcement([training], progress))
    result = ddpmx("sweep", spec, "--out", out)
    assert result.code == 0, result.err
    assert with_checkpoints(out) == sorted([OTHERS[0], OTHERS[1]])
    assert before == {file: file.stat().st_mtime_ns for file in kept.rglob("*")}
    made = runs(out)
    assert status(begun)["status"] == "finished"
    for name in (FIRST, OTHERS[2]):
        assert RunFolder(made[name]).training.path.samefile(kept)


def test_an_interrupted_training_of_any_point_is_completed_and_shared(ddpmx: Run, tmp_path: Path) -> None:
    spec, out = write(tmp_path, SAMPLERS), tmp_path / "runs"
    begun = trained_alone(points(tmp_path).points[1], out / "tiny")
    RunFolder(begun).set_status("interrupted")
    result = ddpmx("run", spec, "--point", FIRST, "--out", out)
    assert result.code == 0, result.err
    assert list(runs(out)) == [FIRST, *OTHERS]
    assert with_checkpoints(out) == [OTHERS[0]]
    assert all(RunFolder(run).training.path.samefile(begun) for run in runs(out).values())


@pytest.mark.slow
def test_a_point_that_cannot_be_measured_does_not_stop_the_others(
    ddpmx: Run, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, compute = copy / "runs", measured.compute_scores
    for name in OTHERS:
        without_training(runs(out)[name])

    def failing(active: ActiveRun) -> object:
        if active.experiment.spec.name == OTHERS[0]:
            raise RunError("no luck")
        return compute(active)

    monkeypatch.setattr(measured, "compute_scores", failing)
    result = ddpmx("run", copy / "tiny.yaml", "--point", FIRST, "--out", out)
    assert result.code == 1
    assert f"1 point could not be measured: {OTHERS[0]}: no luck" in result.err
    assert [status(run)["status"] for run in runs(out).values()] == ["finished", "failed", *["finished"] * 2]
    failed = runs(out)[OTHERS[0]]
    monkeypatch.setattr(measured, "compute_scores", compute)
    again = ddpmx("sweep", copy / "tiny.yaml", "--out", out)
    assert again.code == 0, again.err
    assert runs(out)[OTHERS[0]] == failed  # completed in its folder
    assert status(failed)["status"] == "finished"


@pytest.mark.parametrize("after", ["folder", "epochs", "measurement", "samples"])
def test_a_killed_measurement_is_completed_and_nothing_is_measured_twice(
    ddpmx: Run, copy: Path, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after a part of the work: the folder has what it had then."""
    out, whole = copy / "runs", final_metrics(runs(copy / "runs")[OTHERS[1]])
    run = runs(out)[OTHERS[1]]
    events = list(RunFolder(run).events())
    last = {"folder": "", "epochs": "epoch", "measurement": "evaluate", "samples": "samples"}[after]
    upto = max((index + 1 for index, event in enumerate(events) if event["event"] == last), default=0)
    (run / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events[:upto]))
    for file in (
        "report.html",
        "log.csv",
        *(("status.json", "environment.json") if after == "folder" else ()),
    ):
        (run / file).unlink()
    if after != "folder":
        RunFolder(run).set_status("running")
    calls: list[str] = []
    compute = measured.compute_scores

    def counted(active: ActiveRun) -> object:
        calls.append(active.experiment.spec.name)
        return compute(active)

    monkeypatch.setattr(measured, "compute_scores", counted)
    result = ddpmx("run", copy / "tiny.yaml", "--point", FIRST, "--out", out)
    assert result.code == 0, result.err
    assert calls == ([OTHERS[1]] if after in ("folder", "epochs") else [])
    assert runs(out)[OTHERS[1]] == run
    assert final_metrics(run) == whole
    assert [event["event"] for event in RunFolder(run).events()] == [event["event"] for event in events]
    assert (run / "report.html").exists()
    assert len((run / "log.csv").read_text().splitlines()) == 3


def test_a_measurement_begun_with_another_training_starts_again(ddpmx: Run, copy: Path) -> None:
    """The training was deleted meanwhile, and trained anew by the same point."""
    out = copy / "runs"
    run = runs(out)[OTHERS[1]]
    RunFolder(run).set_status("interrupted")
    without_training(runs(out)[FIRST])
    result = ddpmx("run", copy / "tiny.yaml", "--point", OTHERS[1], "--out", out)
    assert result.code == 0, result.err
    assert RunFolder(run).training.path.samefile(runs(out)[FIRST])
    assert len(evaluations(run)) == 1


@pytest.mark.slow
def test_a_sweep_killed_while_it_measures_is_resumed(tmp_path: Path) -> None:
    steps = "[" + ", ".join(map(str, range(2, 14))) + "]"
    write(tmp_path, f"sweep: {{evaluate.sampler.steps: {steps}}}\n")
    out = tmp_path / "runs"
    command = [sys.executable, "-m", "ddpmx", "sweep", "tiny.yaml"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(lambda: len(list(out.glob("tiny/*/*/training.json"))) >= 3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == 130
    wait_for(lambda: "running" not in {status(run)["status"] for run in runs(out).values()})
    finished = {name for name, run in runs(out).items() if status(run)["status"] == "finished"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{12 - len(finished)} of 12 points to run" in done.stderr
    made = runs(out)
    assert len(made) == 12
    assert with_checkpoints(out) == ["tiny-steps_2"]
    assert all(len(evaluations(run)) == 1 for name, run in made.items() if name != "tiny-steps_2")
