"""`evaluate.over` in a spec: the specs of its combinations, and grids that are refused before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SHORT, Result
from refusals import refused

from ddpmx.spec.loading import load
from ddpmx.spec.over import evaluations

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ("{name: ddim, steps: 3, eta: 0.5}", [("ddim", 3, 0.5, None), ("ddpm", 3, None, "posterior")]),
        ("{name: ddpm, steps: 3, variance: beta}", [("ddim", 3, 0.0, None), ("ddpm", 3, None, "beta")]),
    ],
)
def test_a_sampler_keeps_the_set_parameters_that_it_has(
    tmp_path: Path, own: str, wanted: list[object]
) -> None:
    """`eta` is one of ddim alone, and `variance` one of ddpm."""
    (tmp_path / "tiny.yaml").write_text(SHORT.replace("{name: ddim, steps: 3}", own))
    over = "evaluate.over={evaluate.sampler.name: [ddim, ddpm]}"
    blocks = [each.evaluate.sampler.spec() for each in evaluations(load(tmp_path / "tiny.yaml", [over]))]
    keys = ("name", "steps", "eta", "variance")
    assert [tuple(block.get(key) for key in keys) for block in blocks] == wanted


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("{train.lr: [1]}", "train.lr cannot vary in an evaluation"),
        ("{sampler.steps: [2]}", "samples for metrics come from evaluate.sampler.steps"),
        ("{evaluate.sampler.steps: []}", "should have a list of at least one value"),
        ("{evaluate.sampler.steps: 3}", "should have a list of at least one value"),
        ("[1, 2]", "should map fields to lists of values"),
        ("{evaluate.sampler.steps: [2, 2]}", "has the value 2 twice"),
        ("{evaluate.sampler.steps: [2, 0]}", "in the combination evaluate.sampler.steps=0"),
        ("{weights.ema_std: [0, 0.05]}", "an average of width 0.05 needs a training with snapshots"),
    ],
)
def test_a_spec_with_a_wrong_grid_trains_nothing(ddpmx: Run, tmp_path: Path, over: str, message: str) -> None:
    (tmp_path / "tiny.yaml").write_text(SHORT)
    spec = (tmp_path / "tiny.yaml", "-s", f"evaluate.over={over}")
    refused(ddpmx("run", *spec, "--out", tmp_path / "runs"), message)
    assert not (tmp_path / "runs").exists()
