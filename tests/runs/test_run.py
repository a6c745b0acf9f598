"""Whole runs of a tiny spec: folder, determinism, stopping and resuming, processes, sampling, evaluation."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Result, command, only_run
from PIL import Image
from safetensors.torch import load_file

from ddpmx.storage.folder import RunFolder, to_yaml

Run = Callable[..., Result]


def weights(run: Path) -> dict[str, torch.Tensor]:
    last = run / "checkpoints" / "last"
    return {
        f"{file.stem}.{name}": tensor
        for file in last.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }


def assert_same_weights(a: Path, b: Path) -> None:
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different


def rows(run: Path) -> list[dict[str, Any]]:
    """The rows of log.csv without the time columns."""
    with (run / "log.csv").open() as file:
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two full epochs and part of a third, with metrics."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(
        TINY.replace("steps: 12,", "steps: 50,").replace(
            "samples: 8", "samples: 8, metrics: [fd_cnn, is_cnn]"
        )
    )
    command(folder, "run", "tiny.yaml")
    return only_run(folder / "runs")


def test_the_folder_has_all_documented_files(finished: Path) -> None:
    for name in (
        "spec.yaml",
        "environment.json",
        "metrics.jsonl",
        "log.csv",
        "report.html",
        "status.json",
        "samples/final.png",
    ):
        assert (finished / name).stat().st_size > 0, name
    assert json.loads((finished / "status.json").read_text())["status"] == "finished"
    table = rows(finished)
    assert list(table[0]) == ["epoch", "step", "train_loss", "val_loss", "fd_cnn", "is_cnn"]
    assert [int(row["epoch"]) for row in table] == [1, 2, 3]
    assert [int(row["step"]) for row in table] == [23, 46, 50]  # 1437 images in batches of 64
    assert float(table[-1]["fd_cnn"]) > 0
    assert [path.name for path in sorted((finished / "samples").glob("epoch-*.png"))] == [
        f"epoch-{n:04d}.png" for n in (1, 2, 3)
    ]
    assert (finished / "checkpoints" / "last").resolve().name == "50"
    assert (finished / "checkpoints" / "best").resolve().is_dir()
    assert list((finished / "plots").iterdir())
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert environment["data"]["train"] == 1437


def test_events_are_complete_and_in_order(finished: Path) -> None:
    events = [*RunFolder(finished).events()]
    assert [event["step"] for event in events if event["event"] == "step"] == [10, 20, 30, 40, 50]
    assert [event["event"] for event in events if event["event"] in ("epoch", "end")] == ["epoch"] * 3 + [
        "end"
    ]
    first, last = (next(e for e in order if e["event"] == "step") for order in (events, events[::-1]))
    assert last["loss"] < first["loss"]


def test_nothing_in_the_folder_unpickles(finished: Path) -> None:
    suffixes = {path.suffix for path in finished.rglob("*") if path.is_file()}
    assert suffixes <= {".yaml", ".json", ".jsonl", ".csv", ".html", ".png", ".svg", ".safetensors", ""}


@pytest.mark.slow
def test_the_same_run_twice_gives_identical_weights(tmp_path: Path, finished: Path) -> None:
    # The resolved spec in a run's folder reproduces the run.
    (tmp_path / "again.yaml").write_text((finished / "spec.yaml").read_text())
    command(tmp_path, "run", "again.yaml")
    again = only_run(tmp_path / "runs")
    assert_same_weights(again, finished)
    assert rows(again) == rows(finished)
    same = [np.array(Image.open(run / "samples" / "final.png")) for run in (again, finished)]
    assert np.array_equal(*same)


@pytest.mark.slow
def test_interrupted_and_resumed_is_the_same_run(tmp_path: Path, finished: Path) -> None:
    (tmp_path / "tiny.yaml").write_text((finished / "spec.yaml").read_text())
    process = subprocess.Popen(
        [sys.executable, "-m", "ddpmx", "run", "tiny.yaml"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: '"step": 10' in "".join(path.read_text() for path in logs(tmp_path / "runs")), process)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=120)
    assert process.returncode == 130, message
    run = only_run(tmp_path / "runs")
    stopped = int((run / "checkpoints" / "last").resolve().name)
    assert 10 <= stopped < 50
    assert f"checkpoints/last (step {stopped})" in message
    assert json.loads((run / "status.json").read_text())["status"] == "interrupted"
    command(tmp_path, "run", "tiny.yaml", "--resume")
    assert only_run(tmp_path / "runs") == run
    assert_same_weights(run, finished)
    assert rows(run) == rows(finished)


def test_killed_and_resumed_is_the_same_run(tmp_path: Path, finished: Path) -> None:
    (tmp_path / "tiny.yaml").write_text((finished / "spec.yaml").read_text())
    process = subprocess.Popen(
        [sys.executable, "-m", "ddpmx", "run", "tiny.yaml"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: bool(list(tmp_path.glob("runs/*/*/checkpoints/23"))), process)
    process.kill()
    process.wait()
    run = only_run(tmp_path / "runs")
    assert json.loads((run / "status.json").read_text())["status"] == "running"
    assert {"beta.svg", "weight.svg", "sampler.svg"} <= {path.name for path in (run / "plots").iterdir()}
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "st')  # as after a kill in the middle of a write
    command(tmp_path, "run", "tiny.yaml", "--resume")
    assert_same_weights(run, finished)
    assert rows(run) == rows(finished)


def test_a_run_starts_without_importing_slow_libraries() -> None:
    """Each of these would delay the first step considerably."""
    slow = ("matplotlib", "scipy", "jinja2", "datasets", "diffusers")
    code = f"import ddpmx.runs.run, sys; print([module for module in {slow} if module in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def logs(folder: Path) -> list[Path]:
    """The runs' logs below a folder in which another process is creating and deleting folders."""
    return [Path(path, "metrics.jsonl") for path, _, files in os.walk(folder) if "metrics.jsonl" in files]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline, "the run did not get that far"
        time.sleep(0.005)


@pytest.mark.slow
def test_a_longer_budget_continues_where_the_run_ended(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    assert ddpmx("run", tiny, "--out", tmp_path / "a", "-s", "train.steps=30").code == 0
    assert ddpmx("run", tiny, "--out", tmp_path / "b", "-s", "train.steps=12").code == 0
    resumed = ddpmx("run", tiny, "--out", tmp_path / "b", "-s", "train.steps=30", "--resume")
    assert resumed.code == 0
    assert "resuming " in resumed.err
    assert_same_weights(only_run(tmp_path / "a"), only_run(tmp_path / "b"))
    assert rows(only_run(tmp_path / "a")) == rows(only_run(tmp_path / "b"))
    anew = ddpmx("run", tiny, "--out", tmp_path / "b", "-s", "train.steps=30", "--resume")
    assert "starting a new one" in anew.err


def test_a_run_older_than_a_field_is_resumed(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    assert ddpmx("run", tiny, "--out", tmp_path).code == 0
    run = only_run(tmp_path)
    data = RunFolder(run).spec_data()
    del data["guidance"], data["model"]["classes"], data["train"]["label_dropout"]
    (run / "spec.yaml").write_text(to_yaml(data))
    assert "resuming " in ddpmx("run", tiny, "--out", tmp_path, "-s", "train.steps=14", "--resume").err
    assert (run / "checkpoints" / "last").resolve().name == "14"


def test_accumulation_is_the_same_batch(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    assert ddpmx("run", tiny, "--out", tmp_path / "a").code == 0
    assert ddpmx("run", tiny, "--out", tmp_path / "b", "-s", "train.accumulate=3").code == 0
    losses = [
        [event["loss"] for event in RunFolder(only_run(tmp_path / out)).events() if event["event"] == "step"]
        for out in "ab"
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    command(tmp_path, "run", "tiny.yaml", "--out", "one")
    launcher = (
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(20000 + os.getpid() % 20000),
    )
    command(tmp_path, "run", "tiny.yaml", "--out", "two", "--device", "cpu", launcher=launcher)
    one, two = only_run(tmp_path / "one"), only_run(tmp_path / "two")
    for a, b in zip(rows(one), rows(two), strict=True):
        assert a["step"] == b["step"]
        assert float(a["train_loss"]) == pytest.approx(float(b["train_loss"]), rel=1e-4)
        assert float(a["val_loss"]) == pytest.approx(float(b["val_loss"]), rel=1e-4)
    grids = [np.array(Image.open(run / "samples" / "epoch-0001.png")).astype(int) for run in (one, two)]
    assert np.abs(grids[0] - grids[1]).max() <= 3


def test_sample_writes_the_format_of_the_suffix(ddpmx: Run, finished: Path, tmp_path: Path) -> None:
    for out in ("a.png", "a.npz", "a.gif", "folder"):
        result = ddpmx(
            "sample",
            finished,
            "-n",
            "3",
            "--sampler",
            "ddim",
            "--steps",
            "4",
            "--seed",
            "5",
            "--out",
            tmp_path / out,
        )
        assert result.code == 0, result.err
        assert str(tmp_path / out) in result.out
    array = np.load(tmp_path / "a.npz")["images"]
    assert array.shape == (3, 8, 8, 1)
    assert array.dtype == np.uint8
    singles = [np.array(Image.open(path)) for path in sorted((tmp_path / "folder").iterdir())]
    assert np.array_equal(np.stack(singles), array[..., 0])
    with Image.open(tmp_path / "a.gif") as gif:
        assert getattr(gif, "n_frames", 1) >= 4


def test_an_image_depends_on_its_seed_and_not_on_its_batch(
    ddpmx: Run, finished: Path, tmp_path: Path
) -> None:
    few, many, other = tmp_path / "few.npz", tmp_path / "many.npz", tmp_path / "other.npz"
    for out, extra in (
        (few, ("-n", "2")),
        (many, ("-n", "6", "-s", "evaluate.batch_size=4")),
        (other, ("-n", "2", "--seed", "9")),
    ):
        assert ddpmx("sample", finished, "--out", out, *extra).code == 0
    a, b, c = (np.load(path)["images"].astype(int) for path in (few, many, other))
    # the network's rounding may depend on the batch, but the noise does not
    assert np.abs(a - b[:2]).max() <= 1
    assert np.abs(a - c).max() > 50


def test_a_run_starts_from_anothers_weights(ddpmx: Run, tiny: Path, tmp_path: Path, finished: Path) -> None:
    assert (
        ddpmx(
            "run",
            tiny,
            "--out",
            tmp_path,
            "-s",
            f"train.init_from={finished}",
            "-s",
            "train.lr=1e-20",
            "-s",
            "train.steps=1",
        ).code
        == 0
    )
    started, source = (
        weights(only_run(tmp_path)),
        load_file(finished / "checkpoints" / "best" / "ema.safetensors"),
    )
    for name, tensor in source.items():
        assert torch.allclose(started[f"model.{name}"], tensor, atol=1e-6)
