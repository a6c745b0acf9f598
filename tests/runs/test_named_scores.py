"""Scores whose names do not begin with their metric's: measured, compared, sorted, tracked and settled by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result
from made_runs import make_run, score

from ddpmx import SpecError
from ddpmx.spec.loading import load
from ddpmx.storage.folder import RunFolder
from ddpmx.sweeps.settle_measure import measure_of
from ddpmx.trackers.base import scalars

Run = Callable[..., Result]


def test_evaluate_measures_and_stores_them(ddpmx: Run, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run, symlinks=True)
    done = ddpmx("evaluate", run, "-n", "40", "--metrics", "density_coverage,memorisation", "--json")
    assert done.code == 0, done.err
    event = json.loads(done.out)
    assert list(event["metrics"]) == ["density", "coverage", "memorisation"]
    for name in ("density", "coverage"):
        assert event["scores"][name]["metric"]["name"] == "density_coverage"
    assert event["scores"]["memorisation"]["facts"] == {"training images": 192}
    assert event["scores"]["memorisation"]["floor_n"] == 40
    assert {f"metrics/{name}" for name in event["metrics"]} <= set(scalars(event))
    assert "density" in (run / "report.html").read_text()
    assert [*RunFolder(run).events("evaluate")][-1] == event


def test_compare_sorts_by_them(ddpmx: Run, tmp_path: Path) -> None:
    scored = {"better": "higher", "metric": {"name": "density_coverage", "k": 5}}
    for lr, value in (("1e-3", 0.5), ("2e-3", 0.9)):
        scores = {"density": score(value, **scored), "coverage": score(1 - value, **scored)}
        make_run(tmp_path / "runs", f"train.lr={lr}", scores=scores)
    values = {}
    for name in ("density", "coverage"):
        data = json.loads(ddpmx("compare", tmp_path / "runs", "--sort", name, "--json").out)
        values[name] = [group["measures"][name]["value"] for group in data["groups"]]
    assert values == {"density": [0.9, 0.5], "coverage": [0.5, pytest.approx(0.1)]}


def test_a_sweep_can_be_settled_by_them(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.replace("samples: 8", "samples: 8, metrics: [density_coverage]"))
    specs = [load(tmp_path / "tiny.yaml")]
    assert measure_of(None, specs) == "density"
    assert measure_of("coverage", specs) == "coverage"
    with pytest.raises(SpecError, match="do not measure 'density_coverage'"):
        measure_of("density_coverage", specs)
