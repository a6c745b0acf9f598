"""Points of a sweep that share a training: which ones do, and that each has the results of a separate one."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Result, epochs
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
    weights,
    with_checkpoints,
    without_training,
    write,
)

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.words import summary
from ddpmx.storage.folder import RunFolder
from ddpmx.sweeps.trainings import trainings_of

Run = Callable[..., Result]
ON_NAN = (
    "points: [{name: a}, {name: b, %s}, "
    "{name: c, train.on_nan: rollback}, {name: d, train.on_nan: rollback, %s}]"
)


def groups(folder: Path, sweep: str) -> list[list[str]]:
    write(folder, f"sweep: {{{sweep}}}\n")
    return [
        [spec.name.removeprefix("tiny-") for spec in training.points]
        for training in trainings_of(points(folder).points)
    ]


@pytest.mark.parametrize(
    "field",
    [
        "sampler.steps",
        "sampler.name",
        "evaluate.sampler.steps",
        "evaluate.samples",
        "evaluate.seed",
        "evaluate.grid",
        "evaluate.every_epochs",
        "evaluate.every_steps",
        "evaluate.metrics",
    ],
)
def test_points_that_differ_only_in_measuring_share_a_training(tmp_path: Path, field: str) -> None:
    values = {"sampler.name": "[ddpm, ddim]", "evaluate.metrics": "[[], [pixel_fd]]"}.get(field, "[2, 3]")
    assert [len(group) for group in groups(tmp_path, f"{field}: {values}")] == [2]
    assert [len(group) for group in groups(tmp_path, f"seed: [0, 1], {field}: {values}")] == [2, 2]


@pytest.mark.parametrize(
    "field", ["seed", "train.lr", "train.keep_last", "schedule.timesteps", "model.dim", "loss.norm"]
)
def test_points_that_differ_in_anything_else_do_not(tmp_path: Path, field: str) -> None:
    values = {"loss.norm": "[l1, l2]", "train.lr": "[0.1, 0.2]", "model.dim": "[8, 16]"}.get(field, "[2, 3]")
    assert [len(group) for group in groups(tmp_path, f"{field}: {values}")] == [1, 1]


@pytest.mark.parametrize("change", ["evaluate.seed: 1", "evaluate.every_steps: 1", "evaluate.grid: 0"])
def test_evaluation_that_could_change_the_weights_is_not_shared(tmp_path: Path, change: str) -> None:
    """A rollback goes to a checkpoint that depends on the validation and on when checkpoints are saved."""
    assert groups(tmp_path, ON_NAN % (change, change)) == [["a", "b"], ["c"], ["d"]]


def test_the_validation_that_ends_patience_is_not_shared(tmp_path: Path) -> None:
    sweep = "train.patience: [null, 3], evaluate.seed: [0, 1], evaluate.samples: [8, 9]"
    assert [len(group) for group in groups(tmp_path, sweep)] == [4, 2, 2]


def test_one_training_has_checkpoints_and_the_others_name_it(shared: Path) -> None:
    made = runs(shared / "runs")
    assert list(made) == [FIRST, *OTHERS]
    assert with_checkpoints(shared / "runs") == [FIRST]
    for name in OTHERS:
        written = json.loads((made[name] / "training.json").read_text())
        assert written["run"] == f"../../{FIRST}/{made[FIRST].name}"
        assert RunFolder(made[name]).training.path.samefile(made[FIRST])
        assert status(made[name])["status"] == "finished"
        assert (status(made[name])["epoch"], status(made[name])["step"]) == (2, 6)


@pytest.mark.parametrize("index", [1, 3])
def test_a_point_has_exactly_the_results_of_its_own_training(
    shared: Path, tmp_path: Path, index: int
) -> None:
    spec = points(shared).points[index]
    measured, alone = runs(shared / "runs")[spec.name], trained_alone(spec, tmp_path)
    assert RunFolder(alone).shared is None
    for name in ("last", "best"):
        ours, theirs = weights(measured, name), weights(alone, name)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours | theirs)
    assert final_metrics(measured) == final_metrics(alone)
    for image in ("final", "denoising"):
        assert (measured / f"samples/{image}.png").read_bytes() == (
            alone / f"samples/{image}.png"
        ).read_bytes()
    losses = [
        [
            {key: value for key, value in event.items() if key in ("epoch", "step", "train_loss", "val_loss")}
            for event in epochs(run)
        ]
        for run in (measured, alone)
    ]
    assert losses[0] == losses[1]
    assert all(event["metrics"] == {} for event in epochs(measured))
    assert len(evaluations(measured)) == 1
    results = [compare([run]).groups[0].runs[0].results for run in (measured, alone)]
    assert results[0]["val_loss"].condition == results[1]["val_loss"].condition
    assert {name: result.estimate for name, result in results[0].items()} == {
        name: result.estimate for name, result in results[1].items()
    }


def test_the_comparison_says_who_shares(shared: Path) -> None:
    comparison = compare([shared / "runs"])
    assert set(comparison.fields) == {"sampler.steps", "evaluate.sampler.steps"}
    assert len(comparison.groups) == 4
    (line,) = (line for line in summary(comparison) if "measure the same trained networks" in line)
    assert all(group.label in line for group in comparison.groups)
    html = (runs(shared / "runs")[OTHERS[0]] / "report.html").read_text()
    assert f"../../{FIRST}/" in html
    assert "--resume" not in html


@pytest.mark.slow
def test_val_loss_names_the_seed_that_the_training_was_validated_with(tmp_path: Path) -> None:
    from ddpmx.sweeps.point import run_point

    write(tmp_path, "sweep: {evaluate.seed: [5, 6]}\n")
    grid = points(tmp_path)
    run_point(grid, grid.points[0], out=tmp_path / "runs", device=torch.device("cpu"))
    a, b = compare([tmp_path / "runs"]).groups
    assert (a.fields, b.fields) == ({"evaluate.seed": 5}, {"evaluate.seed": 6})
    conditions = [group.runs[0].results["val_loss"].condition for group in (a, b)]
    assert [condition["evaluate.seed"] for condition in conditions] == [5, 5]
    assert [evaluations(group.runs[0].path)[-1]["scores"]["pixel_fd"]["seed"] for group in (b,)] == [6]


def test_print_gives_a_command_for_each_training(ddpmx: Run, tmp_path: Path) -> None:
    spec = write(tmp_path, "sweep: {seed: [0, 1], evaluate.sampler.steps: [2, 3, 4]}\n")
    out = tmp_path / "runs"
    assert "valid, 6 points with 2 trainings" in ddpmx("validate", spec).out
    result = ddpmx("sweep", spec, "--print", "--out", out)
    assert result.code == 0
    commands = [shlex.split(line) for line in result.out.splitlines()]
    names = [command[command.index("--point") + 1] for command in commands]
    assert names == ["tiny-seed_0-steps_2", "tiny-seed_1-steps_2"]
    first, *lines = result.err.splitlines()
    assert first.startswith("2 trainings for 6 points: ")
    assert [line.split()[-1] for line in lines] == names
    assert not out.exists()
    done = ddpmx(*commands[1][3:])
    assert done.code == 0, done.err
    assert list(runs(out)) == [f"tiny-seed_1-steps_{steps}" for steps in (2, 3, 4)]
    assert with_checkpoints(out) == [names[1]]
    assert ddpmx("sweep", spec, "--print", "--out", out).out == result.out


@pytest.mark.slow
def test_a_sweep_announces_what_is_shared_and_shows_it_in_its_table(
    ddpmx: Run, shared: Path, tmp_path: Path
) -> None:
    """Two points are missing; the sweep measures them with the training that is there."""
    shutil.copytree(shared, tmp_path, symlinks=True, dirs_exist_ok=True)
    out = tmp_path / "runs"
    for name in OTHERS[1:]:
        without_training(runs(out)[name])
    result = ddpmx("sweep", tmp_path / "tiny.yaml", "--out", out)
    assert result.code == 0, result.err
    assert "1 training for 4 points" in result.err
    assert f"{OTHERS[1]} and {OTHERS[2]} are measured with the weights of {runs(out)[FIRST]}" in result.err
    assert "2 of 4 points to run" in result.err
    header, *rows = (line.split() for line in result.out.splitlines() if not line.startswith("compared"))
    assert header == ["point", "status", "training", "time", "where"]
    assert [row[0] for row in rows] == [FIRST, *OTHERS]
    assert FIRST not in rows[0][1:-1]
    assert all(FIRST in row for row in rows[1:])
    assert [("before" in row) for row in rows] == [True, True, False, False]
    assert with_checkpoints(out) == [FIRST]


def test_a_point_by_itself_trains_what_it_needs_and_measures_only_itself(ddpmx: Run, tmp_path: Path) -> None:
    spec, out = write(tmp_path, SAMPLERS), tmp_path / "runs"
    result = ddpmx("run", spec, "--point", OTHERS[1], "--out", out)
    assert result.code == 0, result.err
    assert list(runs(out)) == [FIRST, OTHERS[1]]
    assert with_checkpoints(out) == [FIRST]
    assert f"report:  {runs(out)[OTHERS[1]]}" in result.out
    again = ddpmx("run", spec, "--point", OTHERS[1], "--out", out)
    assert again.out == result.out
    assert len(evaluations(runs(out)[OTHERS[1]])) == 1


def test_a_single_point_that_was_trained_for_another_sampler_is_announced(
    ddpmx: Run, shared: Path, tmp_path: Path
) -> None:
    shutil.copytree(shared, tmp_path, symlinks=True, dirs_exist_ok=True)
    out = tmp_path / "runs"
    spec = write(tmp_path, "sweep: {sampler: [{name: ddim, steps: 7}], evaluate.sampler.steps: [4]}\n")
    result = ddpmx("sweep", spec, "--out", out)
    assert result.code == 0, result.err
    (line,) = (line for line in result.err.splitlines() if "measured with the weights of" in line)
    assert line.endswith(str(runs(out)[FIRST]))
    assert with_checkpoints(out) == [FIRST]


@pytest.mark.slow
def test_a_dry_run_says_that_the_training_is_shared(ddpmx: Run, tmp_path: Path) -> None:
    spec = write(tmp_path, SAMPLERS)
    first, other = (ddpmx("run", spec, "--point", name, "--dry-run") for name in (FIRST, OTHERS[0]))
    assert (first.code, other.code) == (0, 0)
    assert "its command also measures" in first.out
    assert f"shares the training of {FIRST}" in other.out
