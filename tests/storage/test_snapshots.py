"""Runs with the average `power`: what their checkpoints and snapshots hold, also after a kill."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SHORT, Result, only_run
from forked import NEVER, Death, command, differing, together
from safetensors.torch import load_file

from ddpmx.emas.power import Power
from ddpmx.emas.profile import exponent
from ddpmx.storage import manifest

Run = Callable[..., Result]
# 11 steps, two an epoch; of the snapshots of all steps, those of 4 and 8 are kept
POWER = SHORT.replace("steps: 7", "steps: 11, keep_last: 1, ema: {name: power, snapshots: 3}")


def kept(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "ema").iterdir())


def contents(run: Path) -> dict[str, bytes]:
    """The snapshots' files."""
    return {
        str(file.relative_to(run)): file.read_bytes()
        for file in sorted((run / "ema").rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(POWER)
    code, said = command(folder, "run", "tiny.yaml", death=Death("runs", NEVER))
    assert code == 0, said
    return only_run(folder / "runs")


def test_what_a_run_leaves(undisturbed: Path) -> None:
    assert kept(undisturbed) == ["4", "8"]
    assert not list((undisturbed / "ema").glob(".*"))
    for step in (4, 8):
        snapshot = undisturbed / "ema" / str(step)
        manifest.verify(snapshot)
        assert sorted(file.name for file in snapshot.iterdir()) == [
            "ema-1.safetensors",
            "ema.safetensors",
            "state.json",
        ]
    assert not (undisturbed / "checkpoints" / "4").exists()  # whatever keep_last is
    last = undisturbed / "checkpoints" / "last"
    wide, narrow = (load_file(last / f"{name}.safetensors") for name in ("ema", "ema-1"))
    plain = load_file(last / "model.safetensors")
    assert wide.keys() == narrow.keys() == plain.keys()
    far, near = (
        sum(float((average[name] - plain[name]).square().sum()) for name in plain)
        for average in (wide, narrow)
    )
    assert 0 < near < far


def test_the_stored_averages_are_those_of_the_weights(ddpmx: Run, tmp_path: Path) -> None:
    """Against sums in float64 of the plain weights of every step, from checkpoints of each."""
    (tmp_path / "tiny.yaml").write_text(POWER)
    every = ("-s", "train.checkpoint_every_steps=1", "-s", "train.keep_last=99")
    assert ddpmx("run", tmp_path / "tiny.yaml", "--out", tmp_path / "runs", *every).code == 0
    run = only_run(tmp_path / "runs")
    weights = {
        int(folder.name): load_file(folder / "model.safetensors")
        for folder in (run / "checkpoints").iterdir()
        if folder.name.isdecimal()
    }
    assert sorted(weights) == list(range(1, 12))
    for step, folder in ((4, run / "ema" / "4"), (8, run / "ema" / "8"), (11, run / "checkpoints" / "last")):
        for name, std in (("ema", 0.1), ("ema-1", 0.05)):
            for key, average in load_file(folder / f"{name}.safetensors").items():
                power = exponent(std) + 1
                total = sum(
                    ((s / step) ** power - ((s - 1) / step) ** power) * weights[s][key].double()
                    for s in range(1, step + 1)
                )
                torch.testing.assert_close(average.double(), total, rtol=1e-5, atol=1e-6)


DEATHS = {
    "before the first snapshot": Death("ema/.1.", operation="os.mkdir"),
    "in a snapshot": Death("ema/.8.", 3, "open"),
    "snapshot written, not named": Death("ema/.8.", operation="os.rename"),
    "snapshot named, others not deleted": Death("ema/2", 1, "os.rename"),
    "snapshot 8 and no checkpoint": Death("checkpoints/.8.", operation="os.mkdir"),
    "late": Death("checkpoints/.11.", operation="os.rename"),
}


FAST = ("snapshot 8 and no checkpoint",)


@pytest.mark.parametrize(
    "moment",
    [moment if moment in FAST else pytest.param(moment, marks=pytest.mark.slow) for moment in DEATHS],
)
def test_a_run_that_is_killed_and_resumed_has_the_same_bytes(
    moment: str, tmp_path: Path, undisturbed: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(POWER)
    code, said = command(tmp_path, "run", "tiny.yaml", death=DEATHS[moment])
    assert code == -signal.SIGKILL, said
    code, said = command(tmp_path, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    run = only_run(tmp_path / "runs")
    assert differing(run, undisturbed) == []
    assert contents(run) == contents(undisturbed)


@pytest.mark.slow
def test_a_longer_budget_goes_on_with_the_same_snapshots(ddpmx: Run, tmp_path: Path) -> None:
    for name, budgets in (("whole", (17,)), ("parts", (11, 17))):
        (tmp_path / f"{name}.yaml").write_text(POWER)
        for steps in budgets:
            done = ddpmx(
                *("run", tmp_path / f"{name}.yaml", "--resume", "--out", tmp_path / name),
                *("-s", f"train.steps={steps}"),
            )
            assert done.code == 0, done.err
    whole, parts = (only_run(tmp_path / name) for name in ("whole", "parts"))
    assert kept(whole) == ["16", "8"]
    assert contents(whole) == contents(parts)


def test_a_rolled_back_run_has_no_snapshots_of_the_steps_that_it_undid(ddpmx: Run, tmp_path: Path) -> None:
    """Far too large a learning rate, so that the run is rolled back three times and then fails."""
    wild = "steps: 60, on_nan: rollback, optimizer: sgd, lr: 1e3, grad_clip: null"
    (tmp_path / "tiny.yaml").write_text(
        POWER.replace("steps: 11", wild).replace("lr: 1e-3, ", "").replace(", lr: 1e-3", "")
    )
    done = ddpmx("run", tmp_path / "tiny.yaml", "--out", tmp_path / "runs")
    assert done.code == 1
    assert "rolled back to step" in done.out + done.err
    run = only_run(tmp_path / "runs")
    step = json.loads((run / "status.json").read_text())["step"]
    assert kept(run) == [str(kept) for kept in Power(snapshots=3).kept(step)]


@pytest.mark.slow
def test_only_the_main_process_writes_and_all_train_alike(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(POWER)
    assert together(tmp_path, 2, "run", "tiny.yaml", "--out", "two") == [0, 0], (
        tmp_path / "said"
    ).read_text()
    run = only_run(tmp_path / "two")
    assert kept(run) == ["4", "8"]
    for step in (4, 8):
        manifest.verify(run / "ema" / str(step))


def test_a_run_without_snapshots_has_no_folder_for_them(trained: Path) -> None:
    assert not (trained / "ema").exists()


@pytest.mark.slow
def test_the_dry_run_says_what_the_snapshots_take(ddpmx: Run, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(POWER)
    done = ddpmx("run", tmp_path / "tiny.yaml", "--dry-run", "--out", tmp_path / "runs")
    assert done.code == 0, done.err
    written = sum(step in Power(snapshots=3).kept(step) for step in range(1, 12))
    assert f"snapshots of the averages (×{written}, 2 kept in " in done.out
    assert not (tmp_path / "runs").exists()
