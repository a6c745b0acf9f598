"""Commands on tiny runs: refusals, divergence, evaluation, the dry run, and commands that only print."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result, only_run

from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]


def test_a_run_whose_spec_differs_is_not_resumed(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    assert ddpmx("run", tiny, "--out", tmp_path).code == 0
    run = only_run(tmp_path)
    refused = ddpmx("run", tiny, "--out", tmp_path, "--resume", "--run", run, "-s", "schedule.timesteps=21")
    assert refused.code == 2
    assert "-s schedule.timesteps=21: schedule.timesteps" in refused.err
    assert only_run(tmp_path) == run


def test_a_locked_run_is_refused(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    from ddpmx.runs.resume import locked

    assert ddpmx("run", tiny, "--out", tmp_path).code == 0
    with locked(only_run(tmp_path)):
        refused = ddpmx("run", tiny, "--out", tmp_path, "--run", only_run(tmp_path), "-s", "train.steps=14")
    assert refused.code == 2
    assert "another process" in refused.err


WILD = '''
import ddpmx
@ddpmx.WEIGHTINGS.register("wild")
class Wild(ddpmx.Weighting):
    """Weights that make training diverge."""
    def x_start_weight(self, table):
        return 1e36 * table.log_snr.exp()
'''


def test_divergence_fails_with_exit_1_and_keeps_the_weights(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "wild.py").write_text(WILD)
    tiny.write_text(TINY + "loss: {weighting: wild}\nplugins: [wild.py]\n")
    result = ddpmx("run", tiny, "--out", tmp_path / "runs")
    assert result.code == 1
    assert "diverged at step 1" in result.err
    status = json.loads((only_run(tmp_path / "runs") / "status.json").read_text())
    assert status["status"] == "failed"
    assert "diverged" in status["why"]


def test_evaluate_writes_into_the_run(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    assert ddpmx("run", tiny, "--out", tmp_path).code == 0
    run = only_run(tmp_path)
    refused = ddpmx("evaluate", run)
    assert refused.code == 2
    assert "--metrics" in refused.err
    result = ddpmx("evaluate", run, "-n", "16", "--metrics", "fd_cnn,is_cnn")
    assert result.code == 0, result.err
    event = [*RunFolder(run).events()][-1]
    assert event["event"] == "evaluate"
    assert event["samples"] == 16
    assert event["metrics"].keys() == {"fd_cnn", "is_cnn"}
    assert f"{event['metrics']['fd_cnn']:.6g}" in result.out
    printed = ddpmx("evaluate", run, "-n", "16", "--metrics", "fd_cnn", "--json").out
    assert json.loads(printed) == [*RunFolder(run).events()][-1]


def test_dry_run_tries_everything_and_writes_nothing(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    result = ddpmx("run", tiny, "--dry-run", "--out", tmp_path / "runs")
    assert result.code == 0, result.err
    assert "in total" in result.out
    assert "12 steps" in result.out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "command_line",
    [("list",), ("list", "samplers"), ("list", "schedule", "linear"), ("doctor",), ("--version",)],
)
def test_commands_that_only_print(ddpmx: Run, command_line: tuple[str, ...]) -> None:
    result = ddpmx(*command_line)
    assert result.code == 0, result.err
    wanted = {"list": "ddpm", "doctor": "self-check", "--version": "ddpmx"}[command_line[0]]
    assert (wanted if "linear" not in command_line else "beta_start: number") in result.out


def test_threads_wait_without_spinning_unless_the_user_sets_it(
    ddpmx: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    ddpmx("--version")
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    ddpmx("--version")
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_show_and_validate(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    assert ddpmx("validate", tiny).out.splitlines() == [
        f"{tiny}: valid",
        "data: digits: 1,437 training images of 8×8, grey; 180 validation, 180 test;"
        " 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)",
    ]
    result = ddpmx("show", tiny, "--out", tmp_path / "show.html")
    assert result.code == 0, result.err
    page = (tmp_path / "show.html").read_text()
    assert "<svg" in page
    assert "data:image/png" in page
