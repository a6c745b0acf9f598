"""A run is ranked by its own spec's evaluation; other measurements appear in `others` as what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result
from made_runs import ENVIRONMENT, evaluated, make_run, score

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.words import summary
from ddpmx.exchange.card import _measured
from ddpmx.storage.folder import RunFolder, to_yaml

Run = Callable[..., Result]
KNN = "evaluate.metrics=[{name: precision_recall, k: 3}]"


def group(ddpmx: Run, *runs: Path) -> dict[str, Any]:
    done = ddpmx("compare", *runs, "--json")
    assert done.code == 0, done.err
    data: dict[str, Any] = json.loads(done.out)["groups"][0]
    return data


def sampler(run: Path, **changes: object) -> dict[str, object]:
    return {**RunFolder(run).spec_data()["evaluate"]["sampler"], **changes}


def test_other_settings_change_no_value_and_no_table(ddpmx: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", scores={"fd_cnn": score(4.67)})
    tables = {}
    for when in ("before", "after"):
        files = {kind: tmp_path / f"{when}.{kind}" for kind in ("csv", "csv-seeds", "markdown", "latex")}
        options = [word for kind, file in files.items() for word in (f"--{kind}", file)]
        assert ddpmx("compare", run, *options).code == 0
        tables[when] = {kind: file.read_text() for kind, file in files.items()}
        evaluated(run, 15.5, samples=100, sampler=sampler(run, steps=2))
    for kind in ("csv", "csv-seeds"):
        assert tables["before"][kind] == tables["after"][kind]
    for kind in ("markdown", "latex"):
        assert "4.67" in tables["after"][kind]
        assert "15.5" not in tables["after"][kind]
    found = group(ddpmx, run)
    assert found["measures"]["fd_cnn"]["value"] == 4.67
    assert found["measures"]["fd_cnn"]["rank"] is None
    (other,) = found["others"]
    assert other["settings"] == {"evaluate.samples": 100, "evaluate.sampler.steps": 2}
    assert (other["measures"]["fd_cnn"]["value"], other["measures"]["fd_cnn"]["n"]) == (15.5, 100)


def test_the_specs_own_settings_replace_the_value(ddpmx: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path, scores={"fd_cnn": score(4.67)})
    evaluated(run, 4.5)
    assert group(ddpmx, run)["measures"]["fd_cnn"]["value"] == 4.5
    assert group(ddpmx, run)["others"] == []


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "data": ({"data": {"name": "digits", "fingerprint": "fed"}}, {"dataset": "fed"}),
    "seed": ({"seed": 5}, {"evaluate.seed": 5}),
    "samples": ({"samples": 9}, {"evaluate.samples": 9}),
    "guidance": (
        {"guidance": {"weight": 3.0, "rescale": 0.0, "interval": None}},
        {"guidance.weight": 3.0},
    ),
    "checkpoint": ({"weights": {"checkpoint": 10, "ema_std": None}}, {"weights.checkpoint": 10}),
    "average": (
        {"weights": {"checkpoint": "last", "ema_std": 0.05}},
        {"weights.checkpoint": "last", "weights.ema_std": 0.05},
    ),
    "plain weights": ({"weights": {"checkpoint": "best", "ema_std": 0}}, {"weights.ema_std": 0}),
    "sampler": (
        {"sampler": {"name": "heun", "steps": 3}},
        {"evaluate.sampler": {"name": "heun", "steps": 3}},
    ),
}


@pytest.mark.parametrize(("settings", "changes"), OTHERS.values(), ids=OTHERS.keys())
def test_each_setting_makes_another_measurement(
    ddpmx: Run, tmp_path: Path, settings: dict[str, Any], changes: dict[str, Any]
) -> None:
    run = make_run(tmp_path, scores={"fd_cnn": score(4.67)})
    evaluated(run, 15.5, **settings)
    found = group(ddpmx, run)
    assert found["measures"]["fd_cnn"]["value"] == 4.67
    assert [other["settings"] for other in found["others"]] == [changes]


def test_the_same_data_and_guidance_are_no_other_settings(ddpmx: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path, scores={"fd_cnn": score(4.67)})
    guidance = {"weight": 1.0, "rescale": 0.0, "interval": None}
    evaluated(run, 4.5, data=ENVIRONMENT["data"], guidance=guidance)
    assert group(ddpmx, run)["measures"]["fd_cnn"]["value"] == 4.5


def test_other_parameters_of_a_metric_are_another_measurement(ddpmx: Run, tmp_path: Path) -> None:
    own = {"name": "precision_recall", "weights": None, "reference": None, "k": 3, "features": "cnn"}
    name = "precision_recall.recall"
    run = make_run(tmp_path, KNN, scores={name: score(0.5, metric=own)})
    event = {"event": "evaluate", "epoch": 2, "step": 20, "samples": 8, "metrics": {name: 0.9}}
    RunFolder(run).add_event({**event, "scores": {name: score(0.9, metric={**own, "k": 10})}})
    found = group(ddpmx, run)
    assert found["measures"][name]["value"] == 0.5
    (other,) = found["others"]
    assert other["settings"] == {"evaluate.metrics": {**own, "k": 10}}


def test_settings_of_other_components_stay_apart(ddpmx: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path, scores={"fd_cnn": score(4.67)})
    for steps in (5, 10, 20):
        evaluated(run, 30.0 / steps, sampler={"name": "heun", "steps": steps})
    values = [
        (other["settings"]["evaluate.sampler"]["steps"], other["measures"]["fd_cnn"]["value"])
        for other in group(ddpmx, run)["others"]
    ]
    assert values == [(5, 6.0), (10, 3.0), (20, 1.5)]
    (said,) = (line for line in summary(compare([run])) if line.startswith("Measured with other"))
    assert "evaluate.sampler (3 settings;" in said


def test_two_metrics_of_one_setting_are_one_entry(ddpmx: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for metric, value in (("fd_cnn", 4.0), ("is_cnn", 5.0)):
        evaluated(run, value, metric=metric, samples=100)
    (other,) = group(ddpmx, run)["others"]
    assert {name: one["value"] for name, one in other["measures"].items()} == {"fd_cnn": 4.0, "is_cnn": 5.0}
    (said,) = (line for line in summary(compare([run])) if line.startswith("Measured with other"))
    assert "(1 setting;" in said


def test_other_settings_are_averaged_over_seeds(ddpmx: Run, tmp_path: Path) -> None:
    runs = [make_run(tmp_path, f"seed={seed}") for seed in (0, 1)]
    for run, value in zip(runs, (4.0, 6.0), strict=True):
        evaluated(run, 99.0, samples=100)
        evaluated(run, value, samples=100)  # the last one counts
    (other,) = group(ddpmx, *runs)["others"]
    assert (other["measures"]["fd_cnn"]["value"], other["measures"]["fd_cnn"]["seeds"]) == (5.0, 2)


def test_evaluations_of_early_versions_count_with_the_specs_settings(ddpmx: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path, scores={"fd_cnn": score(4.67)})
    RunFolder(run).add_event({"event": "evaluate", "epoch": 2, "step": 20, "metrics": {"fd_cnn": 4.5}})
    assert group(ddpmx, run)["measures"]["fd_cnn"]["value"] == 4.5


def test_a_guided_evaluation_of_a_run_from_before_guidance_is_another_one(ddpmx: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path, scores={"fd_cnn": score(4.67)})
    old = {
        key: value for key, value in RunFolder(run).spec_data().items() if key not in ("guidance", "weights")
    }
    (run / "spec.yaml").write_text(to_yaml(old))
    event = {"event": "evaluate", "epoch": 2, "step": 20, "samples": 8, "metrics": {"fd_cnn": 1.0}}
    guidance = {"weight": 5.0, "rescale": 0.0, "interval": None}
    RunFolder(run).add_event({**event, "guidance": guidance, "scores": {"fd_cnn": score(1.0)}})
    found = group(ddpmx, run)
    assert found["measures"]["fd_cnn"]["value"] == 4.67
    assert [other["settings"] for other in found["others"]] == [{"guidance.weight": 5.0}]


def test_what_training_measures_is_one_other_where_the_spec_asks_for_other_weights(
    ddpmx: Run, tmp_path: Path
) -> None:
    run = make_run(tmp_path, "weights.ema_std=0", scores={"fd_cnn": score(9.0)}, epochs=5)
    evaluated(run, 4.0, step=50)
    found = group(ddpmx, run)
    assert found["measures"]["fd_cnn"]["value"] == 4.0
    assert [other["measures"]["fd_cnn"]["value"] for other in found["others"]] == [9.0]


def test_a_model_card_quotes_the_specs_own_evaluation(tmp_path: Path) -> None:
    run = make_run(tmp_path, scores={"fd_cnn": score(4.67)})
    evaluated(run, 15.5, samples=100)
    evaluated(run, 3.0, metric="is_cnn", samples=100)
    assert _measured(RunFolder(run)).splitlines()[2:] == ["| fd_cnn | 4.67 | 20 |"]
