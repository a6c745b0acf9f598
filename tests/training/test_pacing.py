"""When a run evaluates, samples grids and saves: counts against a simulated run, and runs paced by steps."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Result, epochs, only_run
from forked import Death, command, differing
from hypothesis import given
from hypothesis import strategies as st

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.figures import figures
from ddpmx.comparison.results import read_run
from ddpmx.pages.report import write_report
from ddpmx.spec import loading as spec_file
from ddpmx.storage.folder import RunFolder
from ddpmx.training.events import PASSES
from ddpmx.training.pacing import TRAINING_PER_GRID, Every, Pacing, passes_per_image

Run = Callable[..., Result]
# 90 training images: six steps per epoch, 15 in all. Steps 4 and 8 are within an epoch, 12 and 15 end one.
STEPS = (
    TINY.replace("dataset: digits", "dataset: {name: digits, limit: 90}")
    .replace("steps: 12, batch_size: 64", "steps: 15, batch_size: 15, checkpoint_every_steps: 5")
    .replace("grid: 4, samples: 8", "grid: 4, samples: 8, every_steps: 4, grid_every: 2, metrics: [pixel_fd]")
)


@given(
    per_epoch=st.integers(1, 9),
    steps=st.integers(1, 60),
    evaluation=st.builds(Every, st.integers(1, 12), st.booleans()),
    grid=st.none()
    | st.builds(Every, st.integers(1, 12), st.just(False), st.booleans())
    | st.builds(Every, st.integers(1, 12), st.just(True)),
    save=st.none() | st.integers(1, 12),
)
def test_the_counts_are_those_of_a_simulated_run(
    per_epoch: int, steps: int, evaluation: Every, grid: Every | None, save: int | None
) -> None:
    pacing = Pacing(steps, per_epoch, evaluation, grid, save)
    ends, evaluations, at_ends, grids, checkpoints = 0, 0, 0, 0, 0
    for step in range(1, steps + 1):
        if step % per_epoch == 0 or step == steps:
            ends += 1
            at_ends += step == steps or evaluation.due_at_epoch_end(ends, step)
            grids += grid is not None and (step == steps or grid.due_at_epoch_end(ends, step))
            checkpoints += 1
        else:
            evaluations += evaluation.due_within_epoch(step)
            grids += grid is not None and grid.due_within_epoch(step)
            samples = grid is not None and grid.due_within_epoch(step)
            checkpoints += (
                evaluation.due_within_epoch(step) or samples or (save is not None and step % save == 0)
            )
    counted = (
        pacing.epochs,
        pacing.evaluations,
        pacing.evaluations_at_epoch_ends,
        pacing.grids,
        pacing.checkpoints,
    )
    assert counted == (ends, evaluations + at_ends, at_ends, grids, checkpoints)


@pytest.mark.parametrize("images", [24, 243, 1437, 55_000])
def test_tiny_epochs_do_not_spend_the_run_on_grids(tiny: Path, images: int) -> None:
    """The default grids of 64 images, for any number of training images."""
    tiny.write_text(
        TINY.replace("steps: 12, batch_size: 64", "epochs: 34").replace("steps: 3}, grid: 4", "steps: 20}")
    )
    spec = spec_file.load(tiny)
    table = spec.schedule.table()
    pacing = Pacing.from_spec(spec, images, table)
    grid_passes = spec.evaluate.grid * passes_per_image(spec, table)
    assert pacing.grid is not None
    assert pacing.grid.first
    assert (pacing.grids - 2) * grid_passes * TRAINING_PER_GRID <= 34 * images * 3
    assert 2 <= pacing.grids <= 34
    if images > 10_000:
        assert pacing.grids == 34  # as before, where epochs are long enough
    every = Pacing.from_spec(spec_file.load(tiny, ["evaluate.grid_every=1"]), images, table)
    assert every.grids == 34


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run paced by steps that is not interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(STEPS)
    code, said = command(folder, "run", "tiny.yaml")
    assert code == 0, said
    return only_run(folder / "runs")


def measured(run: Path) -> list[tuple[str, int]]:
    return [(event["event"], event["step"]) for event in RunFolder(run).events() if event.get("metrics")]


def test_evaluations_and_grids_come_at_their_steps(undisturbed: Path) -> None:
    assert measured(undisturbed) == [("evaluate", 4), ("evaluate", 8), ("epoch", 12), ("epoch", 15)]
    events = list(RunFolder(undisturbed).events())
    drawn = [(event["path"], event["step"]) for event in events if event["event"] == "samples"]
    within = [(f"samples/step-{step:07d}.png", step) for step in (2, 4, 8, 10, 14)]
    ends = [
        ("samples/epoch-0001.png", 6),
        ("samples/epoch-0002.png", 12),
        ("samples/epoch-0003.png", 15),
        ("samples/final.png", 15),
    ]
    assert sorted(drawn, key=lambda pair: pair[1]) == sorted([*within, *ends], key=lambda pair: pair[1])
    assert all((undisturbed / path).is_file() for path, _ in drawn)
    assert [event["step"] for event in events if event["event"] == "per_t"] == [4, 8, 12, 15]
    assert [event[PASSES] for event in events if event["event"] == "evaluate"] == pytest.approx(
        [4 / 6, 8 / 6]
    )
    assert [event["step"] for event in epochs(undisturbed)] == [6, 12, 15]


def test_an_evaluation_within_an_epoch_is_shown_everywhere(undisturbed: Path) -> None:
    with (undisturbed / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"]) for row in rows] == [
        ("1", "4"),
        ("1", "6"),
        ("2", "8"),
        ("2", "12"),
        ("3", "15"),
    ]
    assert [bool(row["pixel_fd"]) for row in rows] == [True, False, True, True, True]
    assert all(row["val_loss"] and row["train_loss"] for row in rows)
    page = write_report(undisturbed).read_text()
    for step in (4, 8):
        value = next(
            event["metrics"]["pixel_fd"]
            for event in RunFolder(undisturbed).events()
            if event["step"] == step and event.get("metrics")
        )
        assert f"{value:,.0f}" in page or f"{value:.4g}" in page
    assert "epoch 0.3333333" in page
    assert [
        passes for passes, *_ in read_run(undisturbed).history.curves["pixel_fd"].points()
    ] == pytest.approx([4 / 6, 8 / 6, 2, 3])
    comparison = compare([undisturbed])
    (curve,) = [
        drawn for drawn in figures(comparison) if drawn.caption.startswith("Measured during training")
    ]
    (axes, *_) = curve.figure.axes
    assert list(axes.lines[0].get_xdata()) == pytest.approx([4 / 6, 8 / 6, 2, 3])


# Each moment is just before a file operation in the first epoch; the list has the events logged by then.
MOMENTS: dict[str, tuple[Death, list[str]]] = {
    "before the grid": (Death("step-0000002.png", operation="open"), []),
    "between the grid and its event": (Death("metrics.jsonl", 1, "open"), []),
    "before the second checkpoint": (Death("checkpoints/.4.", 1, "os.mkdir"), ["samples"]),
    "between two checkpoints": (Death("step-0000004.png", operation="open"), ["samples"]),
    "between curves and scores": (Death("metrics.jsonl", 5, "open"), ["samples", "samples", "per_t"]),
    "before the row": (Death("/log.csv", 1, "os.rename"), ["samples", "samples", "per_t", "evaluate"]),
    "after a checkpoint alone": (
        Death("checkpoints/.6.", 1, "os.mkdir"),
        ["samples", "samples", "per_t", "evaluate"],
    ),
}
FAST = ("before the row",)


@pytest.mark.parametrize(
    "moment",
    [moment if moment in FAST else pytest.param(moment, marks=pytest.mark.slow) for moment in MOMENTS],
)
def test_killed_within_an_epoch_and_resumed(moment: str, tmp_path: Path, undisturbed: Path) -> None:
    death, left = MOMENTS[moment]
    (tmp_path / "tiny.yaml").write_text(STEPS)
    code, said = command(tmp_path, "run", "tiny.yaml", death=death)
    assert code == -signal.SIGKILL, said
    run = only_run(tmp_path / "runs")
    assert [event["event"] for event in RunFolder(run).events()] == left
    code, said = command(tmp_path, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    assert differing(run, undisturbed) == []


@pytest.mark.slow
def test_two_processes_evaluate_within_an_epoch_like_one(tmp_path: Path, undisturbed: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STEPS)
    launcher = (
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(20000 + os.getpid() % 20000),
    )
    program = [sys.executable, *launcher, "-m", "ddpmx", "run", "tiny.yaml", "--device", "cpu"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    both, one = (list(RunFolder(run).events()) for run in (only_run(tmp_path / "runs"), undisturbed))
    assert [(event["event"], event["step"], event.get(PASSES)) for event in both] == [
        (event["event"], event["step"], event.get(PASSES)) for event in one
    ]
    for a, b in zip(both, one, strict=True):
        if "val_loss" in a:
            assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-4)


def test_checkpoints_within_an_epoch_are_saved_by_steps(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(
        TINY.replace(
            "steps: 12, batch_size: 64", "steps: 20, batch_size: 15, checkpoint_every_steps: 4, keep_last: 3"
        )
    )
    assert ddpmx("run", tiny, "--out", tmp_path).code == 0
    steps = {
        int(path.name) for path in (only_run(tmp_path) / "checkpoints").iterdir() if not path.is_symlink()
    }
    assert steps == {12, 16, 20}


@pytest.mark.slow
def test_no_grids_at_all(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    result = ddpmx("run", tiny, "--out", out, "-s", "evaluate.grid=0")
    assert result.code == 0, result.err
    run = only_run(out)
    assert list((run / "samples").iterdir()) == []
    assert "final.png" not in result.out
    assert "Samples" not in (run / "report.html").read_text()
    page = tmp_path / "page.html"
    assert ddpmx("compare", run, "--html", page).code == 0
    assert ddpmx("sample", run, "-n", 2, "--out", tmp_path / "two.png").code == 0
    assert ddpmx("run", tiny, "--dry-run", "-s", "evaluate.grid=0").code == 0


def test_best_is_reported_once_it_is_news(
    ddpmx: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([5.0, 4.0, 3.0, 3.5, 2.0, 1.0, 1.5])
    real = __import__("ddpmx.training.loop", fromlist=["validate"]).validate

    def validate(*arguments: Any, **more: Any) -> Any:
        validated = real(*arguments, **more)
        return replace(validated, losses=validated.losses * 0 + next(losses))

    monkeypatch.setattr("ddpmx.training.loop.validate", validate)
    tiny.write_text(TINY.replace("steps: 12", "epochs: 7"))
    result = ddpmx("run", tiny, "--out", tmp_path, "-s", "dataset.limit=64")
    assert result.code == 0, result.err
    lines = [line for line in result.err.splitlines() if line.startswith("epoch ")]
    assert [line.endswith("(best)") for line in lines] == [False, False, False, False, True, False, False]
    assert "best: epoch 6, " in result.err
