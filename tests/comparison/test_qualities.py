"""`compare` on runs that were measured with several samplers: which share a training, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from made_runs import add_measurement, make_run

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.page import write_page
from ddpmx.comparison.words import MOST_QUALITIES, summary

HALVES = np.random.default_rng(0).normal(size=200)


def grid(run: Path, shift: float = 0.0) -> Path:
    """Measure the run with three numbers of steps, of which the last two are alike."""
    for steps, value in ((2, 9.0), (5, 4.1), (10, 4.0)):
        draws = HALVES + 0.2 * np.random.default_rng(steps).normal(size=200)
        block = {
            "name": "ddim",
            "steps": steps,
            "grid": "leading",
            "timesteps": None,
            "clip": 1.0,
            "eta": 0.0,
        }
        add_measurement(run, value + shift, draws, sampler=block)
    return run


def test_seeds_of_a_spec_are_one_curve(tmp_path: Path, ddpmx: Callable[..., Result]):
    runs = [grid(make_run(tmp_path, f"seed={seed}"), seed) for seed in (0, 1)]
    said = "fd_cnn by network evaluations: ddim with 5 evaluations is within noise of the best, ddim with 10"
    result = ddpmx("compare", *runs, "--json")
    (curve,) = json.loads(result.out)["curves"]
    assert (curve["groups"], curve["seeds"], curve["metric"]) == (["tiny"], [0, 1], "fd_cnn")
    assert [(point["x"], point["value"], point["within_noise"]) for point in curve["points"]] == [
        (2, 9.5, False),
        (5, 4.6, True),
        (10, 4.5, True),
    ]
    assert curve["summary"].startswith(said)
    assert said in ddpmx("compare", *runs).out


def test_each_training_has_a_curve_under_its_label(tmp_path: Path):
    runs = [grid(make_run(tmp_path, f"loss.norm={norm}")) for norm in ("l1", "l2")]
    comparison = compare(runs)
    assert [training.label for training in comparison.qualities] == ["norm=l1", "norm=l2"]
    assert (
        sum(line.startswith("norm=l1, fd_cnn by network evaluations: ") for line in summary(comparison)) == 1
    )
    html = write_page(comparison, comparison.groups, tmp_path / "page.html").read_text()
    assert 'aria-label="norm=l2: fd_cnn"' in html
    assert "<h2>Quality by sampler</h2>" in html


def test_specs_that_differ_in_their_measurement_alone_are_one_training(tmp_path: Path):
    """As points of a sweep over the sampler are."""
    runs = []
    for steps, value in ((2, 9.0), (5, 4.1)):
        run = make_run(tmp_path, f"evaluate.sampler={{name: ddim, steps: {steps}}}", f"name=s{steps}")
        add_measurement(run, value, HALVES)
        runs.append(run)
    comparison = compare(runs)
    (training,) = comparison.qualities
    assert (training.label, training.groups) == ("", ("s2", "s5"))
    assert [one.x for one in training.qualities[0].placed] == [2, 5]


def test_ordinary_runs_have_no_curves(tmp_path: Path):
    comparison = compare([make_run(tmp_path), make_run(tmp_path, "loss.norm=l1")])
    assert comparison.qualities == ()
    html = write_page(comparison, comparison.groups, tmp_path / "page.html").read_text()
    assert "Quality by" not in html


def test_a_spec_that_no_longer_loads_is_a_sentence(tmp_path: Path):
    run = grid(make_run(tmp_path))
    text = (run / "spec.yaml").read_text()
    (run / "spec.yaml").write_text(text.replace("name: cosine", "name: gone"))
    comparison = compare([run])
    said = "the samplers' evaluations are not known (unknown schedule"
    assert any(line.startswith(said) for line in summary(comparison))
    html = write_page(comparison, comparison.groups, tmp_path / "page.html").read_text()
    assert "evaluations are not known" in html


@pytest.mark.parametrize("metrics", [MOST_QUALITIES, MOST_QUALITIES + 2])
def test_the_summary_has_a_few_of_many_curves(tmp_path: Path, metrics: int):
    run = make_run(tmp_path)
    for name in range(metrics):
        for steps in (2, 5):
            block = {"name": "ddim", "steps": steps, "grid": "leading"}
            add_measurement(run, 3.0 + steps, HALVES, name=f"m{name}", sampler=block)
    lines = [line for line in summary(compare([run])) if "uality by" in line or "by network" in line]
    assert len(lines) == MOST_QUALITIES + (metrics > MOST_QUALITIES)
    assert (lines[-1] == "Quality by sampler or EMA length: 2 more in --json and --html.") == (metrics > 6)
