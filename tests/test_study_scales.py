"""The scales of the study: the same points at each, and what each one changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from study_plan import ALL_AT_ONCE, FOLDER, QUESTIONS

from ddpmx.models.base import check_size
from ddpmx.runs.known_runs import finished_runs
from ddpmx.spec.schema import Spec
from ddpmx.sweeps.points import load_sweep

SEEDS = {"digits": 8, "small": 3, "full": 5}
SIDES = {"digits": 8, "small": 14, "full": 28}
RESULTS = Path(__file__).parents[1] / "results" / "study"


def points(sweep: str, scale: str, *overrides: str) -> Sequence[Spec]:
    extends = f"extends={json.dumps(str(FOLDER / 'scales' / f'{scale}.yaml'))}"
    return load_sweep(FOLDER / f"{sweep}.yaml", [extends, *overrides]).points


def test_each_scale_has_a_file_seeds_and_a_network_that_fits() -> None:
    files = {file.stem for file in (FOLDER / "scales").glob("*.yaml")} - {"settings"}
    assert files == set(SEEDS) >= set(ALL_AT_ONCE)
    assert {sweep for question in QUESTIONS for sweep in question} == {
        path.stem for path in FOLDER.glob("*.yaml")
    }
    labels = []
    for scale, count in SEEDS.items():
        specs = points("losses", scale)
        assert sorted({spec.seed for spec in specs}) == list(range(count))
        labels.append({spec.name.split("-")[-1] for spec in specs})
        check_size(SIDES[scale], specs[0].model.model_dump()["dim_mults"])
    assert labels[0] == labels[1] == labels[2]


def test_small_has_the_clothes_at_half_their_side_and_the_settings_of_digits() -> None:
    (small, *_), (digits, *_) = (points("losses", scale, "sweep.seed=[0]") for scale in ("small", "digits"))
    assert {"name": "fashion_mnist", "size": 14, "flip": True}.items() <= small.resolved()["dataset"].items()
    assert (small.train.steps, small.train.batch_size, small.evaluate.samples) == (2000, 128, 5000)
    assert (small.weights, small.evaluate.over) == (digits.weights, digits.evaluate.over)
    assert [type(metric) for metric in small.evaluate.metrics] == [
        type(metric) for metric in digits.evaluate.metrics
    ]


def test_full_has_the_stopping_rule_of_the_source_on_plain_weights() -> None:
    spec = points("losses", "full", "sweep.seed=[0]")[0]
    assert (spec.train.epochs, spec.train.steps, spec.train.patience) == (200, None, 10)
    assert (spec.weights.checkpoint, spec.weights.ema_std) == ("best", 0)
    assert spec.train.ema is None  # so that the loss that decides is that of the weights themselves
    assert spec.evaluate.over == {}
    assert (spec.train.lr, spec.train.weight_decay, spec.train.grad_clip) == (1e-3, 0, None)


@pytest.mark.skipif(not (RESULTS / "digits").exists(), reason="the study is not published")
def test_published_runs_are_still_those_of_the_specs() -> None:
    specs = points("losses", "digits", "sweep.seed=[0]")
    found = finished_runs(specs, RESULTS / "digits")
    assert {run.parent.name for run in found.values()} == {
        path.name for path in (RESULTS / "digits" / "losses").glob("losses-seed_0-*")
    }
