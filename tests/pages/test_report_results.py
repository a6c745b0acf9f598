"""The results in report.html: the values of the run's own evaluation, and others as what they are."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from made_runs import add_grids, evaluated, make_run, score

from ddpmx.pages import report
from ddpmx.pages.report import write_report
from ddpmx.storage.folder import RunFolder


def page(run: Path) -> str:
    """The text of a run's report, with a space for each tag."""
    text = re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", write_report(run).read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text))


def test_a_later_evaluation_of_the_spec_counts_before_the_trainings(tmp_path: Path) -> None:
    run = make_run(tmp_path, scores={"fd_cnn": score(1234.0)})
    evaluated(run, 7.25, step=10)
    text = page(run)
    assert " fd_cnn 7.25 [7.15, 7.35], epoch 1, 8 samples " in text
    assert " fd_cnn 7.25 7.15 … 7.35 lower 8 " in text
    assert "Measured with other settings" not in text


def test_evaluations_with_other_settings_are_not_the_runs_result(tmp_path: Path) -> None:
    run = make_run(tmp_path, scores={"fd_cnn": score(1234.0)})
    sampler = RunFolder(run).spec_data()["evaluate"]["sampler"]
    evaluated(run, 7.25)
    evaluated(run, 3.5, samples=10_000)
    for steps in (2, 7):
        evaluated(run, 90.0 + steps, sampler={**sampler, "steps": steps})
        evaluated(run, 80.0 + steps, sampler={"name": "heun", "steps": steps})
    text = page(run)
    assert " fd_cnn 7.25 [7.15, 7.35], epoch 2, 8 samples " in text
    own, others = text.split("Measured with other settings")
    assert not re.search(r"fd_cnn (3\.5|9\d|8\d) ", own)
    assert "These values do not stand for the run" in others
    for row in (
        "fd_cnn evaluate.samples 10000 3.5 3.4 … 3.6 10,000 20",
        "fd_cnn evaluate.sampler.steps 2 92 91.9 … 92.1 8 20",
        "fd_cnn evaluate.sampler.steps 7 97 96.9 … 97.1 8 20",
        "fd_cnn evaluate.sampler heun (steps 2) 82 81.9 … 82.1 8 20",
        "fd_cnn evaluate.sampler heun (steps 7) 87 86.9 … 87.1 8 20",
    ):
        assert f" {row} " in others


def test_a_metric_that_was_only_measured_with_other_settings_is_no_result(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    evaluated(run, 3.5, samples=10_000)
    own, others = page(run).split("Measured with other settings")
    assert "fd_cnn" not in own
    assert "fd_cnn evaluate.samples 10000 3.5" in others


def test_of_many_other_settings_the_last_ones_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_OTHERS", 3)
    run = make_run(tmp_path)
    for samples in range(101, 106):
        evaluated(run, 1.0, samples=samples)
    text = page(run)
    assert re.findall(r"evaluate\.samples (\d+)", text) == ["103", "104", "105"]
    assert "Shown are the last 3 of 5." in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("weights.checkpoint=best", "with the weights of the lowest validation loss."),
        ("weights.checkpoint=last", "with the weights of the last step."),
        ("weights={checkpoint: 6, ema_std: 0}", "with the plain weights of step 6."),
        ("weights.ema_std=0.07", "with an average of width 0.07."),
    ],
)
def test_the_final_samples_have_the_weights_that_the_spec_names(
    tmp_path: Path, change: str, said: str
) -> None:
    run = make_run(tmp_path, change, "train.ema=power")
    add_grids(run, 2, 0)
    assert said in page(run)
