"""`evaluate --over` and `evaluate.over`: every combination once, resumable, and wrong input refused first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SHORT, Result, only_run
from refusals import refused

from ddpmx.metrics import Score
from ddpmx.runs import grid
from ddpmx.runs.run import run
from ddpmx.spec.loading import load
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]
STEPS = ("--over", "evaluate.sampler.steps=2,3,4")
SEEDS = ("--over", "evaluate.seed=0,1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which measured pixel_fd with ddim in 3 steps after every epoch."""
    out = tmp_path_factory.mktemp("grid")
    (out / "tiny.yaml").write_text(SHORT)
    return run(load(out / "tiny.yaml"), out=out / "runs", device=torch.device("cpu"))


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "runs" / "tiny" / finished.name
    shutil.copytree(finished, copy, symlinks=True)
    return copy


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The blocks `evaluate` that were measured, one for each call of `measure`."""
    made: list[dict[str, Any]] = []
    measure = grid.measure

    def counted(experiment: Any, *arguments: Any, **options: Any) -> dict[str, Score]:
        made.append(experiment.spec.resolved()["evaluate"])
        return measure(experiment, *arguments, **options)

    monkeypatch.setattr(grid, "measure", counted)
    return made


def measured(run: Path) -> list[dict[str, Any]]:
    """The events of measurements after the training."""
    return [event for event in RunFolder(run).events("evaluate") if "passes" not in event]


def settings(events: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(event["sampler"]["steps"], event["seed"]) for event in events]


EVERY = [(steps, seed) for steps in (2, 3, 4) for seed in (0, 1)]


def test_every_combination_is_one_event_and_none_is_measured_twice(
    ddpmx: Run, copied: Path, calls: list[dict[str, Any]]
) -> None:
    done = ddpmx("evaluate", copied, *STEPS, *SEEDS, "--json")
    assert done.code == 0, done.err
    events = measured(copied)
    assert json.loads(done.out) == events
    assert sorted(settings(events)) == EVERY
    # training has measured one combination: those of the best weights, unless the last ones are not the best
    known = [event for event in events if event["values"].startswith("draws/step-")]
    assert len(calls) == len(EVERY) - len(known)
    again = ddpmx("evaluate", copied, *STEPS, *SEEDS, "--json")
    assert json.loads(again.out) == events
    assert measured(copied) == events
    assert len(calls) == len(EVERY) - len(known)


def test_what_the_training_has_measured_is_copied(
    ddpmx: Run, copied: Path, calls: list[dict[str, Any]]
) -> None:
    last = list(RunFolder(copied).events("epoch"))[-1]
    done = ddpmx("evaluate", copied, "--over", "weights.checkpoint=last", "--json")
    assert (done.code, calls) == (0, [])
    (event,) = json.loads(done.out)
    assert event["metrics"] == last["metrics"]
    assert event["values"] == last["values"]
    assert event["weights"] == {"checkpoint": "last", "ema_std": None}
    assert measured(copied) == [event]


def test_one_checkpoint_with_two_names_is_measured_once_and_has_two_events(
    ddpmx: Run, copied: Path, calls: list[dict[str, Any]]
) -> None:
    (copied / "checkpoints" / "best").unlink()
    (copied / "checkpoints" / "best").symlink_to((copied / "checkpoints" / "last").readlink())
    names = ("--over", "weights.checkpoint=best,last", "-s", "evaluate.sampler.steps=2")
    for _ in range(2):
        done = ddpmx("evaluate", copied, *names, "--json")
        assert done.code == 0, done.err
        first, second = measured(copied)
        assert json.loads(done.out) == [first, second]
        assert [event["weights"]["checkpoint"] for event in (first, second)] == ["best", "last"]
        assert first["metrics"] == second["metrics"]
        assert len(calls) == 1


def test_a_grid_that_is_killed_goes_on_where_it_was(
    ddpmx: Run, copied: Path, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = grid.measure

    def killed(*arguments: Any, **options: Any) -> dict[str, Score]:
        if len(calls) == 2:
            raise KeyboardInterrupt
        return counted(*arguments, **options)

    over = ("evaluate", copied, "--over", "evaluate.sampler.steps=5,6,7,8")
    with monkeypatch.context() as context:
        context.setattr(grid, "measure", killed)
        assert ddpmx(*over).code == 130
    before = measured(copied)
    assert settings(before) == [(5, 0), (6, 0)]
    assert ddpmx(*over).code == 0
    assert measured(copied)[:2] == before
    assert settings(measured(copied)) == [(5, 0), (6, 0), (7, 0), (8, 0)]
    assert [block["sampler"]["steps"] for block in calls] == [5, 6, 7, 8]


def test_another_metric_of_a_known_combination_is_measured(
    ddpmx: Run, copied: Path, calls: list[dict[str, Any]]
) -> None:
    over = ("evaluate", copied, "--over", "evaluate.sampler.steps=2")
    assert ddpmx(*over).code == 0
    assert ddpmx(*over, "-s", "evaluate.metrics=[{name: pixel_fd, reference: train}]").code == 0
    assert len(calls) == 2
    assert ddpmx(*over).code == 0
    assert len(calls) == 2


def test_several_runs_share_one_grid(ddpmx: Run, copied: Path, calls: list[dict[str, Any]]) -> None:
    other = copied.with_name("99990101-000000")
    shutil.copytree(copied, other, symlinks=True)
    done = ddpmx("evaluate", copied, other, "--over", "evaluate.sampler.steps=2,4")
    assert done.code == 0, done.err
    assert [line for line in done.out.splitlines() if line.endswith(":")] == [f"{copied}:", f"{other}:"]
    for each in (copied, other):
        assert settings(measured(each)) == [(2, 0), (4, 0)]
    assert len(calls) == 4
    by_name = ddpmx("evaluate", "tiny", "--over", "evaluate.sampler.steps=2", "--json")
    assert by_name.code == 2  # without --out, a name is looked up below runs/
    assert len(calls) == 4


def test_a_run_is_found_by_its_name(
    ddpmx: Run, copied: Path, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied.parents[2])
    assert ddpmx("evaluate", "tiny", "--over", "evaluate.sampler.steps=2").code == 0
    assert settings(measured(copied)) == [(2, 0)]


def test_values_are_yaml(ddpmx: Run, copied: Path) -> None:
    samplers = '{name: ddim, steps: 2}, heun, {"name": "ddim", "steps": 4, "eta": 1.0}'
    done = ddpmx("evaluate", copied, "--over", f"evaluate.sampler={samplers}", "--json")
    assert done.code == 0, done.err
    found = [event["sampler"] for event in json.loads(done.out)]
    assert [(block["name"], block.get("eta")) for block in found] == [
        ("ddim", 0.0),
        ("heun", None),
        ("ddim", 1.0),
    ]
    assert [found[0]["steps"], found[2]["steps"]] == [2, 4]


OVER = "evaluate.over={evaluate.sampler.steps: [2, 3, 4], evaluate.seed: [0, 1]}"


@pytest.fixture
def trained_over(ddpmx: Run, tmp_path: Path) -> Callable[..., Result]:
    (tmp_path / "tiny.yaml").write_text(SHORT)
    return lambda *more: ddpmx("run", tmp_path / "tiny.yaml", "--out", tmp_path / "runs", "-s", OVER, *more)


def test_a_run_measures_its_grid_at_the_end(
    trained_over: Callable[..., Result], tmp_path: Path, calls: list[dict[str, Any]]
) -> None:
    done = trained_over()
    assert done.code == 0, done.err
    run = only_run(tmp_path / "runs")
    assert sorted(settings(measured(run))) == EVERY
    assert "measured evaluate.sampler.steps=4 evaluate.seed=1  pixel_fd" in done.out + done.err
    assert "Measured with other settings" in (run / "report.html").read_text()


def test_a_run_that_is_killed_in_its_grid_is_resumed_there(
    trained_over: Callable[..., Result],
    tmp_path: Path,
    calls: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = grid.measure

    def killed(*arguments: Any, **options: Any) -> dict[str, Score]:
        if len(calls) == 2:
            raise KeyboardInterrupt
        return counted(*arguments, **options)

    with monkeypatch.context() as context:
        context.setattr(grid, "measure", killed)
        assert trained_over().code == 130
    run = only_run(tmp_path / "runs")
    before = measured(run)
    assert RunFolder(run).status()["status"] == "interrupted"
    assert trained_over("--resume").code == 0
    assert only_run(tmp_path / "runs") == run
    assert measured(run)[: len(before)] == before
    assert sorted(settings(measured(run))) == EVERY
    asked = [(block["sampler"]["steps"], block["seed"]) for block in calls]
    assert len(set(asked)) == len(asked)


BAD = [
    ("train.lr=1e-3,1e-4", "train.lr cannot vary in an evaluation"),
    ("nosuch.field=1", "nosuch.field cannot vary in an evaluation"),
    ("evaluate.over=1", "evaluate.over cannot vary in an evaluation"),
    ("sampler.steps=2,3", "samples for metrics come from evaluate.sampler.steps"),
    ("evaluate.sampler.stepz=2", "evaluate.sampler.stepz: unknown key; did you mean 'steps'?"),
    ("evaluate.sampler.name=ddimm", "unknown sampler 'ddimm'; did you mean 'ddim'?"),
    ("evaluate.sampler.steps", "'evaluate.sampler.steps' should be FIELD=V1,V2,…"),
    ("evaluate.sampler.steps=", "'evaluate.sampler.steps=' should be FIELD=V1,V2,…"),
    ("=1,2", "'=1,2' should be FIELD=V1,V2,…"),
    ("evaluate.sampler.steps=[", "evaluate.sampler.steps: not valid YAML"),
    ("evaluate.sampler.steps=2,-1", "not -1, in the combination evaluate.sampler.steps=-1"),
    ("evaluate.samples=8,1", "not 1, in the combination evaluate.samples=1"),
    ("evaluate.sampler.steps=2,3,2", "evaluate.sampler.steps has the value 2 twice"),
    ("weights.checkpoint=best,12345", "has no checkpoint of step 12345 (kept:"),
    ("weights.checkpoint=first", "weights.checkpoint: should be best, last, or the step of a checkpoint"),
    ("weights.ema_std=0,wide", "weights.ema_std: should be a valid number, not 'wide'"),
    ("guidance.weight=1,2", "classifier-free guidance needs a class-conditional network"),
]


@pytest.mark.parametrize(("over", "message"), BAD, ids=[over for over, _ in BAD])
def test_wrong_values_are_one_message_before_anything_is_measured(
    ddpmx: Run, copied: Path, calls: list[dict[str, Any]], over: str, message: str
) -> None:
    log = (copied / "metrics.jsonl").read_bytes()
    lines = refused(ddpmx("evaluate", copied, "--over", over), message)
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert (copied / "metrics.jsonl").read_bytes() == log
    assert calls == []


def test_a_field_is_given_once_and_a_grid_has_a_maximum(
    ddpmx: Run, copied: Path, calls: list[dict[str, Any]]
) -> None:
    twice = ("--over", "evaluate.samples=8", "--over", "evaluate.samples=9")
    refused(ddpmx("evaluate", copied, *twice), "evaluate.samples: is given twice")
    seeds, samples = (",".join(map(str, range(2, end))) for end in (103, 102))
    many = ("--over", f"evaluate.seed={seeds}", "--over", f"evaluate.samples={samples}")
    refused(ddpmx("evaluate", copied, *many), "has 10,100 combinations, more than the maximum of 10,000")
    assert calls == []
