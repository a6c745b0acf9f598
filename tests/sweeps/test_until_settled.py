"""`sweep --until-settled` on finished runs with made-up scores, and once with real trainings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY, Result
from made_runs import ENVIRONMENT, make_run, score

from ddpmx.data.digits import Digits
from ddpmx.storage.folder import RunFolder
from ddpmx.storage.provenance import DataRecord

Run = Callable[..., Result]
SPEC = TINY.replace("samples: 8", "samples: 8, metrics: [pixel_fd, fd_cnn]")


@pytest.fixture(scope="module")
def environment() -> dict[str, Any]:
    return {**ENVIRONMENT, "data": DataRecord.from_data(Digits().load(Path.cwd())).to_json()}


@pytest.fixture
def made(tmp_path: Path, environment: dict[str, Any]) -> Callable[[str, Sequence[float]], None]:
    """Finished runs of the spec with a learning rate, a run for each score, with seeds from 0 on."""

    def make(lr: str, scores: Sequence[float], **changes: Any) -> None:
        for seed, value in enumerate(scores):
            overrides = (f"train.lr={lr}", f"seed={seed}", "evaluate.metrics=[pixel_fd, fd_cnn]")
            run = make_run(
                tmp_path / "runs" / "made",
                *overrides,
                scores={"pixel_fd": score(value, **changes), "fd_cnn": score(5.0)},
            )
            RunFolder(run).write_json("environment.json", environment)

    return make


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(SPEC + "sweep: {train.lr: [1e-3, 2e-3, 3e-3]}\n")
    return file


def noisy(mean: float, count: int, seed: int) -> list[float]:
    return [mean + 0.1 * float(noise) for noise in np.random.default_rng(seed).normal(size=count)]


def settled_json(out: Path) -> list[dict[str, Any]]:
    questions: list[dict[str, Any]] = json.loads((out / "tiny" / "settled.json").read_text())["questions"]
    return questions


def verdicts(question: dict[str, Any]) -> dict[tuple[str, str], tuple[int, str]]:
    return {
        (pair["a"], pair["b"]): (look["seeds"], pair["verdict"])
        for look in question["looks"]
        for pair in look["pairs"]
    }


def test_finished_runs_are_settled_without_training(ddpmx: Run, spec: Path, made: Any, tmp_path: Path):
    for index, (lr, mean) in enumerate({"1e-3": 10.0, "2e-3": 10.0, "3e-3": 14.0}.items()):
        made(lr, noisy(mean, 8, index), half=None)
    out = tmp_path / "runs"
    result = ddpmx("sweep", spec, "--until-settled", "--max-seeds", 8, "--out", out)
    assert result.code == 0, result.err
    assert "3 specs, 3 pairs to settle by pixel_fd: lr_0.001, lr_0.002, lr_0.003" in result.err
    assert "equivalent within ±10 % of its mean" in result.err
    assert "at most 21 runs more" in result.err  # only those of the sweep's own seed are known to be finished
    assert "lr_0.001 is better than lr_0.003" in result.out
    assert "lr_0.001 and lr_0.002 are equivalent" in result.out
    (question,) = settled_json(out)
    found = verdicts(question)
    assert [verdict for _, verdict in found.values()] == ["equivalent", "differs", "differs"]
    assert question["measure"] == "pixel_fd"
    differences = [pair["difference"] for pair in question["looks"][0]["pairs"]]
    assert differences == pytest.approx([0, -4, -4], abs=0.2)
    assert (question["margin"], question["relative"], question["max_seeds"]) == (0.1, True, 8)
    assert (out / "tiny" / "compare.html").exists()
    assert not list((out / "tiny").glob("*/"))  # nothing was run
    again = ddpmx("sweep", spec, "--until-settled", "--max-seeds", 8, "--out", out)
    assert settled_json(out) == [question]
    assert again.out.splitlines()[-6:] == result.out.splitlines()[-6:]
    assert "with 2 seeds" not in again.err


@pytest.mark.slow
def test_what_stays_open_is_said_with_what_it_needs(ddpmx: Run, spec: Path, made: Any, tmp_path: Path):
    for lr, mean in (("1e-3", 10.0), ("2e-3", 10.5), ("3e-3", 30.0)):
        made(lr, [mean - 1, mean + 1, mean - 0.5, mean + 0.5], half=None)
    out = tmp_path / "runs"
    command = ("sweep", spec, "--until-settled", "--max-seeds", 4, "--out", out)
    result = ddpmx(*command, "--margin", "0.01")
    assert result.code == 0, result.err
    assert "lr_0.001 and lr_0.002: open" in result.out
    assert "seeds a side" in result.out
    assert "would show the 0.5 seen" in result.out
    other = ddpmx(*command, "--margin", "2")
    assert "a new question: margin, relative changed" not in other.err  # only the margin did
    assert "a new question: margin changed since the last one" in other.err
    assert "would show one of 2" in other.out
    assert [question["margin"] for question in settled_json(out)] == [0.01, 2.0]
    third = ddpmx(*command, "--margin", "0.01")
    assert "a new question" not in third.err
    assert [question["margin"] for question in settled_json(out)] == [0.01, 2.0]


def test_another_measure_can_decide(ddpmx: Run, spec: Path, made: Any, tmp_path: Path):
    for lr, mean in (("1e-3", 10.0), ("2e-3", 11.0), ("3e-3", 30.0)):
        made(lr, [mean, mean + 0.1], half=None)
    arguments = ("--until-settled", "--max-seeds", 2, "--out", tmp_path / "runs", "--measure", "fd_cnn")
    result = ddpmx("sweep", spec, *arguments)
    assert result.code == 0, result.err
    assert "difference of fd_cnn" in result.out
    assert result.out.count("are equivalent") == 3


def test_scores_that_are_not_comparable_are_refused(ddpmx: Run, spec: Path, made: Any, tmp_path: Path):
    made("1e-3", [10.0, 10.1])
    made("2e-3", [10.0, 10.1], n=500)
    made("3e-3", [10.0, 10.1])
    result = ddpmx("sweep", spec, "--until-settled", "--out", tmp_path / "runs")
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("error: --until-settled: pixel_fd of ")
    assert result.err.endswith(": n 500, not 1,000\n")


def test_a_finished_run_without_the_score_is_a_failure(ddpmx: Run, spec: Path, made: Any, tmp_path: Path):
    made("1e-3", [10.0, 10.1], half=None)
    made("2e-3", [10.0, float("nan")], half=None)
    made("3e-3", [20.0, 20.1], half=None)
    result = ddpmx("sweep", spec, "--until-settled", "--max-seeds", 2, "--out", tmp_path / "runs")
    assert result.code == 1
    assert "lr_0.002 is not settled: tiny-lr_0.002-seed_1: it has no pixel_fd" in result.out
    assert (
        "runs of lr_0.002 failed, so that not all pairs can be settled; 1 of 3 pairs are settled"
        in result.err
    )
    assert verdicts(settled_json(tmp_path / "runs")[0]) == {("lr_0.001", "lr_0.003"): (2, "differs")}


@pytest.mark.slow
def test_a_killed_and_repeated_command_trains_nothing_twice(tmp_path: Path):
    """Two specs known to differ, trained for 2 and for 150 steps; the first command ends by its budget."""
    (tmp_path / "tiny.yaml").write_text(
        SPEC.replace("samples: 8, metrics: [pixel_fd, fd_cnn]", "samples: 64, metrics: [pixel_fd]")
        + "sweep: {points: [{name: short, train.steps: 2}, {name: long, train.steps: 150}]}\n"
    )
    command = [sys.executable, "-m", "ddpmx", "sweep", "tiny.yaml", "--until-settled", "--max-seeds", "6"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
        )

    first = run("--budget", "0.01s")
    assert first.returncode == 0, first.stderr
    assert "not continued: the budget" in first.stdout
    assert not list(tmp_path.glob("runs/tiny/*/*/"))
    second = run("--jobs", "2")
    assert second.returncode == 0, second.stderr
    assert "short is worse than long" in second.stdout
    runs = sorted(path.parent.name for path in tmp_path.glob("runs/tiny/*/*/"))
    assert len(runs) == len(set(runs)) >= 4
    third = run()
    assert third.returncode == 0
    assert sorted(path.parent.name for path in tmp_path.glob("runs/tiny/*/*/")) == runs
    assert third.stdout.splitlines()[-3:] == second.stdout.splitlines()[-3:]
