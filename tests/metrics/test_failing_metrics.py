"""A failing metric costs its score, not the run; a run with edited plugins is resumed on request only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result, epochs, only_run

from ddpmx.plugins.loading import file_hash
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]
METRIC = """
import sys
import ddpmx

@ddpmx.METRICS.register({name!r})
class Mine(ddpmx.Metric):
    '''Fails.'''
    def compute(self, subject):
        {body}
"""
SCORE = "ddpmx.Score({value}, 'lower', 8, 0)"
FAULTS = {
    "raises": ("raise ValueError('deep')", "failed: ValueError: deep"),
    "exits": ("sys.exit(0)", "failed: SystemExit: 0"),
    "nothing": ("pass", "should return a dict of names and ddpmx.Score, not NoneType"),
    "float": ("return {'x': 1.0}", "should return a dict of names and ddpmx.Score, not dict of float 1.0"),
    "nan": (
        "return {'x': " + SCORE.format(value="float('nan')") + "}",
        "should give 'x' a finite number, not nan",
    ),
    "tensor": (
        "import torch; return {'x': " + SCORE.format(value="torch.ones(1)") + "}",
        "a finite number, not float32 [1] on cpu",
    ),
    "refuses": ("raise ddpmx.SpecError('too few images')", "too few images"),
}


def metric_spec(folder: Path, fault: str, more: str = "") -> Path:
    name = f"failing_{fault}"
    (folder / "bad.py").write_text(METRIC.format(name=name, body=FAULTS[fault][0]))
    text = TINY.replace("samples: 8}", f"samples: 8, metrics: [{more}{name}]}}")
    (folder / "tiny.yaml").write_text(text + "plugins: [bad.py]\n")
    return folder / "tiny.yaml"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_run_is_finished_without_it(ddpmx: Run, tmp_path: Path, fault: str) -> None:
    result = ddpmx("run", metric_spec(tmp_path, fault, "pixel_fd, "), "--out", tmp_path / "runs")
    assert result.code == 0, result.err
    message = FAULTS[fault][1]
    assert f"warning: the metric 'failing_{fault}' is skipped: " in result.err
    assert message in result.err.replace("\n", " ")
    run = only_run(tmp_path / "runs")
    status = json.loads((run / "status.json").read_text())
    assert status["status"] == "finished"
    assert message in status["why"]
    assert f"failing_{fault}" in (run / "report.html").read_text()
    last = epochs(run)[-1]
    assert list(last["metrics"]) == ["pixel_fd"]
    assert message in last["problems"][0]
    assert (run / "plugin-traceback.txt").exists() == (fault in ("raises", "exits"))


def test_evaluate_of_it_alone_fails(ddpmx: Run, tmp_path: Path) -> None:
    assert ddpmx("run", metric_spec(tmp_path, "raises"), "--out", tmp_path / "runs").code == 0
    run = only_run(tmp_path / "runs")
    before = (run / "metrics.jsonl").read_bytes()
    result = ddpmx("evaluate", run)
    assert result.code == 1
    assert "Mine.compute() of the metric 'failing_raises' failed: ValueError: deep" in result.err
    assert (run / "metrics.jsonl").read_bytes() == before
    both = ddpmx("evaluate", run, "--metrics", "failing_raises,pixel_fd")
    assert both.code == 1
    assert "the other scores are stored: pixel_fd" in both.err


SCHEDULE = """
import ddpmx, torch

@ddpmx.SCHEDULES.register("{name}")
class Mine(ddpmx.Schedule):
    '''β grows.'''
    def beta(self):
        return torch.linspace(1e-4, {top}, self.timesteps, dtype=torch.float64)
"""


@pytest.mark.parametrize("named", [False, True])
def test_edited_plugins_are_resumed_with_leave_only(
    ddpmx: Run, tmp_path: Path, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddpmx.components.registry import SCHEDULES

    plugin, spec, out = tmp_path / "mine.py", tmp_path / "tiny.yaml", tmp_path / "runs"

    def write(top: float) -> None:
        monkeypatch.setattr(
            SCHEDULES, "_classes", {k: v for k, v in SCHEDULES._classes.items() if k != "edited"}
        )
        plugin.write_text(SCHEDULE.format(name="edited", top=top))

    spec.write_text(
        TINY.replace("name: cosine", "name: edited").replace("steps: 12", "steps: 3") + "plugins: [mine.py]\n"
    )
    write(0.02 + named / 1000)
    assert ddpmx("run", spec, "--out", out).code == 0
    run = only_run(out)
    was = file_hash(plugin)
    write(0.03 + named / 1000)
    command = ("run", spec, "--out", out, "--resume", *(("--run", run) if named else ()))
    refused = ddpmx(*command, "-s", "train.steps=4")
    assert refused.code == 2
    for part in (
        "plugins",
        "mine.py",
        was[:12],
        file_hash(plugin)[:12],
        "--allow-changed-plugins",
        "omit --resume",
        str(run),
    ):
        assert part in refused.err
    assert only_run(out) == run
    assert file_hash(run / "plugins" / "mine.py") == was
    allowed = ddpmx(*command, "-s", "train.steps=4", "--allow-changed-plugins")
    assert allowed.code == 0, allowed.err
    assert "mine.py" in allowed.err
    assert only_run(out) == run
    record = json.loads((run / "environment.json").read_text())["plugins_before"]
    assert record == [{"plugin": "mine.py", "sha256": was, "until_step": 3}]
    (now,) = RunFolder(run).spec_data()["plugins"]
    assert file_hash(run / now) == file_hash(plugin)
    assert file_hash(run / "plugins" / "mine.py") == was
    again = ddpmx(*command, "-s", "train.steps=5")  # it is this run's content now
    assert again.code == 0, again.err
    assert json.loads((run / "environment.json").read_text())["plugins_before"] == record


def test_a_run_with_the_same_content_comes_before_one_with_other(
    ddpmx: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, spec, out = tmp_path / "mine.py", tmp_path / "tiny.yaml", tmp_path / "runs"
    spec.write_text(TINY.replace("steps: 12", "steps: 1") + "plugins: [mine.py]\n")
    runs = []
    for text in ("# one\n", "# two\n", "# one\n"):
        plugin.write_text(text)
        if len(runs) < 2:
            assert ddpmx("run", spec, "--out", out).code == 0
            runs += [file.parent for file in out.glob("*/*/spec.yaml") if file.parent not in runs]
    assert ddpmx("run", spec, "--out", out, "--resume", "-s", "train.steps=2").code == 0
    steps = [json.loads((run / "status.json").read_text())["step"] for run in runs]
    assert steps == [2, 1]
