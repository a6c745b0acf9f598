"""Moments of a run's weights: measured when a sampler needs them, kept in the run, and measured once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SHORT, Result, only_run

from ddpmx.runs import moments
from ddpmx.runs.run import run
from ddpmx.spec.loading import load
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]
ANALYTIC = ("--sampler", "ddpm", "--steps", "3", "-s", "sampler.variance=analytic", "-n", "4")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose evaluation samples with the analytic variance."""
    out = tmp_path_factory.mktemp("moments")
    text = SHORT.replace(
        "sampler: {name: ddim, steps: 3}", "sampler: {name: ddpm, variance: analytic, steps: 3}"
    )
    (out / "tiny.yaml").write_text(text.replace("every_epochs: 1", "every_epochs: 100"))
    return run(load(out / "tiny.yaml"), out=out / "runs", device=torch.device("cpu"))


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "runs" / "tiny" / finished.name
    shutil.copytree(finished, copy, symlinks=True)
    return copy


def done(result: Result) -> Result:
    assert result.code == 0, result.err
    return result


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The indices of each measurement."""
    made: list[list[float]] = []
    measure = moments.measure_moments

    def counted(experiment: Any, network: Any, timesteps: list[float], *more: Any) -> Any:
        made.append(list(timesteps))
        return measure(experiment, network, timesteps, *more)

    monkeypatch.setattr(moments, "measure_moments", counted)
    return made


def test_a_run_keeps_the_moments_of_its_weights_and_says_how_sure_they_are(finished: Path) -> None:
    files = list((finished / "moments").glob("*.safetensors"))
    assert files
    events = list(RunFolder(finished).events("samples"))
    assert all(0 < event["variance_error"] < 1 for event in events[:-1])
    assert "variance_error" not in events[-1]  # the final grid is of `sampler`, whose variance is fixed
    epoch = [event for event in RunFolder(finished).events("epoch") if event["metrics"]][-1]
    assert float(epoch["scores"]["pixel_fd"]["facts"]["error of σ²"]) > 0


def test_the_same_weights_are_measured_once(copied: Path, ddpmx: Run, measured: list[list[float]]) -> None:
    assert "are known to ±" in done(ddpmx("sample", copied, *ANALYTIC)).err
    done(ddpmx("sample", copied, *ANALYTIC, "--seed", "7"))
    done(
        ddpmx(
            "sample",
            copied,
            "--sampler",
            "ddpm",
            "--steps",
            "2",
            "-s",
            "sampler.variance=analytic",
            "-n",
            "2",
        )
    )
    # the evaluation at the run's end measured the first three; two steps share the first index
    assert [t for indices in measured for t in indices] == [9.0]


def test_other_weights_have_moments_of_their_own(
    copied: Path, ddpmx: Run, measured: list[list[float]]
) -> None:
    done(ddpmx("sample", copied, *ANALYTIC, "-s", "weights.ema_std=0"))
    assert [len(indices) for indices in measured] == [3]


@pytest.mark.parametrize("damage", [b"", b"x" * 50, b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_file_is_measured_again_with_a_warning(
    copied: Path, ddpmx: Run, measured: list[list[float]], damage: bytes
) -> None:
    files = list((copied / "moments").glob("*.safetensors"))
    before = done(ddpmx("sample", copied, *ANALYTIC, "--out", copied / "before.npz"))
    assert "damaged" not in before.err
    for file in files:
        file.write_bytes(damage)
    after = done(ddpmx("sample", copied, *ANALYTIC, "--out", copied / "after.npz"))
    assert "is damaged: the network's moments are measured again" in after.err
    assert [len(indices) for indices in measured] == [3]
    assert (copied / "before.npz").read_bytes() == (copied / "after.npz").read_bytes()


def test_a_moved_run_samples_without_its_data(
    copied: Path, ddpmx: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored moments suffice; other indices need the images."""

    def missing(spec: object) -> None:
        raise AssertionError("the data were loaded")

    monkeypatch.setattr(moments, "load_data", missing)
    done(ddpmx("sample", copied, *ANALYTIC))
    with pytest.raises(AssertionError, match="the data were loaded"):
        ddpmx("sample", copied, *ANALYTIC, "--steps", "4")


def test_a_folder_that_cannot_be_written_is_a_warning(
    copied: Path, ddpmx: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.rmtree(copied / "moments")
    (copied / "moments").write_text("not a folder")
    result = done(ddpmx("sample", copied, *ANALYTIC, "--out", tmp_path / "images.npz"))
    assert "cannot be written, so these moments are measured again next time" in result.err


def test_variances_are_compared_on_one_training(copied: Path, ddpmx: Run) -> None:
    over = ("--over", "evaluate.sampler.variance=posterior,beta,analytic", "--json")
    events = json.loads(done(ddpmx("evaluate", copied, *over)).out)
    assert [event["sampler"]["variance"] for event in events] == ["posterior", "beta", "analytic"]
    facts = [event["scores"]["pixel_fd"]["facts"] for event in events]
    assert ["error of σ²" in each for each in facts] == [False, False, True]
    assert len({event["metrics"]["pixel_fd"] for event in events}) == 3


def test_the_cost_is_known_before(tmp_path: Path, ddpmx: Run) -> None:
    (tmp_path / "tiny.yaml").write_text(SHORT)
    changes = ("-s", "sampler.variance=analytic", "-s", "evaluate.metrics=[]")
    result = done(ddpmx("run", tmp_path / "tiny.yaml", *changes, "--dry-run"))
    assert (
        "the network is measured on 128 training images at each of its timesteps: 5,120 passes" in result.out
    )
    assert "moments of the network (5,120 passes of one image)" in result.out
    assert not (tmp_path / "runs").exists()


def test_the_report_says_how_sure_the_final_samples_variances_are(tmp_path: Path, ddpmx: Run) -> None:
    (tmp_path / "tiny.yaml").write_text(SHORT)
    changes = ("-s", "sampler.variance=analytic", "-s", "sampler.steps=3", "-s", "train.steps=1")
    result = done(ddpmx("run", tmp_path / "tiny.yaml", *changes, "--out", tmp_path / "runs"))
    assert "the variances of ddpm are known to ±" in result.err
    report = (only_run(tmp_path / "runs") / "report.html").read_text()
    assert "The variances of its steps are known to ±" in report


def test_export_refuses_what_diffusers_does_not_have(copied: Path, ddpmx: Run, tmp_path: Path) -> None:
    changes = ("-s", "sampler.variance=analytic")
    result = ddpmx("export", copied, "--to", "diffusers", tmp_path / "out", *changes)
    assert result.code == 2
    assert "diffusers has no equivalent of the variance 'analytic'" in result.err
