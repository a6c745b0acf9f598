"""Measuring and sampling with averages of other lengths: `weights.ema_std` in a spec and in `--over`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SHORT, TINY, Result, only_run
from safetensors.torch import load_file

from ddpmx.runs import preflight
from ddpmx.runs.opening import open_run
from ddpmx.spec.loading import load
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]
POWER = SHORT.replace("steps: 7", "steps: 12, ema: {name: power, snapshots: 8}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with `power` that measures a grid of widths when it ends; best is not its last checkpoint."""
    from ddpmx.runs.run import run

    out = tmp_path_factory.mktemp("ema")
    (out / "tiny.yaml").write_text(
        POWER.replace("metrics: [", "over: {weights.ema_std: [0, 0.05, 0.07]}, metrics: [")
    )
    return run(load(out / "tiny.yaml"), out=out / "runs", device=torch.device("cpu"))


def measured(run: Path) -> list[tuple[object, int, float]]:
    """(ema_std, step, value) of each measurement after the training."""
    return [
        (event["weights"]["ema_std"], event["step"], event["metrics"]["pixel_fd"])
        for event in RunFolder(run).events("evaluate")
    ]


def test_a_run_measures_its_widths_when_it_ends(finished: Path) -> None:
    found = measured(finished)
    assert [std for std, _, _ in found] == [0, 0.05, 0.07]
    assert [step for _, step, _ in found[1:]] == [12, 12]
    assert len({value for _, _, value in found}) == 3
    assert sorted(path.name for path in (finished / "ema").glob("std-*")) == ["std-0.07"]


def test_the_weights_of_each_width(finished: Path) -> None:
    last = finished / "checkpoints" / "12"
    files = {
        "0": last / "model.safetensors",
        "0.05": last / "ema-1.safetensors",
        "0.1": last / "ema.safetensors",
        "0.07": finished / "ema" / "std-0.07" / "ema.safetensors",
    }
    for std, file in files.items():
        changes = [f"weights.ema_std={std}", "weights.checkpoint=last"]
        opened = open_run(finished, changes, torch.device("cpu"))
        assert opened.weights == file
        for name, tensor in load_file(file).items():
            assert torch.equal(opened.experiment.network.state_dict()[name], tensor)


def test_evaluating_along_the_width_measures_nothing_twice(ddpmx: Run, finished: Path) -> None:
    before = measured(finished)
    over = ("evaluate", finished, "--over", "weights.ema_std=0.07,0.1,0.12")
    said = ddpmx(*over)
    assert said.code == 0, said.err
    after = measured(finished)
    assert after[: len(before)] == before
    assert [std for std, _, _ in after[len(before) :]] == [0.1, 0.12]
    assert ddpmx(*over).code == 0
    assert measured(finished) == after


def test_samples_of_a_width(ddpmx: Run, finished: Path, tmp_path: Path) -> None:
    images = []
    for std in ("0.07", "0"):
        out = tmp_path / f"{std}.png"
        said = ddpmx("sample", finished, "-n", "2", "-s", f"weights.ema_std={std}", "--out", out)
        assert said.code == 0, said.err
        images.append(out.read_bytes())
    assert images[0] != images[1]


def test_an_unsupported_width_is_refused_at_its_field(ddpmx: Run, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(POWER.replace("snapshots: 8", "std: [0.1], snapshots: 2"))
    assert ddpmx("run", tmp_path / "tiny.yaml", "--out", tmp_path / "runs").code == 0
    said = ddpmx("evaluate", only_run(tmp_path / "runs"), "-s", "weights.ema_std=0.02")
    assert said.code == 2
    assert "weights.ema_std: the snapshots of " in said.err
    assert "do not support an average of width 0.02" in said.err
    assert "(supported: 0." in said.err
    grid = ddpmx("evaluate", only_run(tmp_path / "runs"), "--over", "weights.ema_std=0.1,0.02")
    assert (grid.code, grid.out) == (2, "")  # nothing is measured first
    assert "do not support an average of width 0.02" in grid.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("weights.ema_std=0.05", "weights.ema_std: an average of width 0.05 needs a training with snapshots"),
        ("evaluate.over={weights.ema_std: [0, 0.05]}", "an average of width 0.05 needs a training"),
        ("weights.ema_std=0.0001", "weights.ema_std: should be 0, or from 0.001 on, not 0.0001"),
        ("weights.ema_std=0.3", "weights.ema_std: should be less than 0.288675"),
    ],
)
def test_a_spec_that_cannot_have_such_weights_is_refused_before_training(
    ddpmx: Run, tmp_path: Path, change: str, message: str
) -> None:
    (tmp_path / "tiny.yaml").write_text(SHORT)
    said = ddpmx("run", tmp_path / "tiny.yaml", "--out", tmp_path / "runs", "-s", change)
    assert said.code == 2
    assert message in said.err
    assert not (tmp_path / "runs").exists()


def test_a_width_that_snapshots_will_not_support_is_noted_before_training(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        TINY.replace("steps: 12", "steps: 1024, ema: power").replace(
            "evaluate: {", "evaluate: {over: {weights.ema_std: [0, 0.01, 0.02]}, "
        )
    )
    spec = load(tmp_path / "tiny.yaml")
    notes = preflight.budget_notes(spec, 1438, spec.schedule.table())
    (note,) = [note for note in notes if note.startswith("weights.ema_std")]
    assert "snapshots of 1,024 steps do not support a width of 0.01, only 0.0183 to 0.2592" in note
