"""Quality against network evaluations and along the EMA length: which measurements belong together, what is
said of them, and that a report shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import PROGRAM, Browser
from made_runs import add_measurement, make_run, score

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.page import write_page
from ddpmx.pages.ema_quality import ema_qualities
from ddpmx.pages.quality import Quality, data
from ddpmx.pages.quality_plots import plot, table
from ddpmx.pages.report import write_report
from ddpmx.pages.sampler_quality import evaluations, sampler_qualities
from ddpmx.pages.varied import MOST_POINTS, SAMPLER, Network, varied
from ddpmx.spec.loading import load_run
from ddpmx.storage.folder import RunFolder
from ddpmx.storage.measurement import LatestMeasurements

HALVES = np.random.default_rng(0).normal(size=200)
"""The noise that all settings share, as they have the halves in common."""
OWN = np.random.default_rng(1).normal(size=(100, 200))
"""Noise of each setting alone."""


def sampler(name: str, steps: int, **parameters: Any) -> dict[str, Any]:
    return {"name": name, "steps": steps, "grid": "leading", "timesteps": None, **parameters}


def measure(run: Path, values: dict[tuple[str, int], float], noise: float = 0.1, **settings: Any) -> None:
    """Measurements by (sampler, steps), from the same halves."""
    for index, ((name, steps), value) in enumerate(values.items()):
        draws = HALVES + noise * OWN[index]
        add_measurement(run, value, draws, sampler=sampler(name, steps), **settings)


def network(run: Path) -> Network:
    folder = RunFolder(run)
    spec = folder.spec_data()
    latest = LatestMeasurements(spec, folder.environment())
    for event in folder.events():
        latest.add(event)
    return Network(spec["seed"], run, "abc", [*latest.own.values(), *latest.others.values()])


def samplers(*runs: Path) -> Quality:
    (found,) = sampler_qualities([network(run) for run in runs])
    return found


GRID = {
    ("ddim", 2): 9.0,
    ("ddim", 5): 6.0,
    ("ddim", 10): 4.1,
    ("heun", 2): 8.0,
    ("heun", 5): 4.0,
    ("euler", 10): 7.0,
}


def test_the_fewest_evaluations_within_noise_of_the_best(tmp_path: Path):
    """The settings' values differ by 0.1, which is within the noise of their own, not of the halves'."""
    run = make_run(tmp_path)
    measure(run, GRID)
    quality = samplers(run)
    assert [(one.line, one.x) for one in quality.placed] == [
        ("ddim", 2),
        ("ddim", 5),
        ("ddim", 10),
        ("euler", 10),
        ("heun", 3),
        ("heun", 9),
    ]
    assert quality.sentence.startswith(
        "fd_cnn by network evaluations: heun with 9 evaluations is best, 4.0 [2.1, 5.9]; ddim needs 10; "
        "euler is worse by more than noise with any number measured; on one trained network."
    )
    assert [one.point.is_near for one in quality.placed] == [False, False, True, False, False, None]


def test_a_cheaper_setting_than_the_best_comes_first(tmp_path: Path):
    run = make_run(tmp_path)
    measure(run, {("ddim", 5): 4.1, ("ddim", 20): 4.0, ("heun", 5): 9.0})
    assert (
        "ddim with 5 evaluations is within noise of the best, ddim with 20 (4.0 [" in samplers(run).sentence
    )


def test_the_shared_halves_make_small_differences_visible(tmp_path: Path):
    """The same two values with independent halves would be within noise."""
    found = {}
    for noise in (0.01, 3.0):
        run = make_run(tmp_path)
        measure(run, {("ddim", 2): 4.5, ("ddim", 10): 4.0}, noise)
        found[noise] = samplers(run).placed[0].point.is_near
    assert found == {0.01: False, 3.0: True}


def test_higher_may_be_better(tmp_path: Path):
    run = make_run(tmp_path)
    for steps, value in ((2, 3.0), (10, 8.0)):
        scores = {"is_cnn": {**ISCORE, "value": value}}
        add_measurement(run, value, name="is_cnn", sampler=sampler("ddim", steps), scores=scores)
    assert samplers(run).sentence.startswith("is_cnn by network evaluations: ddim with 10 is highest, 8")


ISCORE = {
    "better": "higher",
    "n": 1000,
    "seed": 0,
    "split": "test",
    "extractor": "c0ffee",
    "preprocessing": "bytes",
    "interval": None,
}


def test_without_intervals_nothing_is_said_about_noise(tmp_path: Path):
    run = make_run(tmp_path)
    for steps, value in ((2, 9.0), (10, 4.0)):
        add_measurement(run, value, sampler=sampler("ddim", steps))
    quality = samplers(run)
    assert quality.sentence == (
        "fd_cnn by network evaluations: ddim with 10 is lowest, 4; "
        "without intervals, nothing is known about noise; on one trained network."
    )
    assert [row[-1] for row in table(quality).rows] == ["unknown", "best"]


def test_a_mean_over_seeds_is_about_these_networks(tmp_path: Path):
    """Its interval comes from the halves, not from the spread over seeds."""
    runs = [make_run(tmp_path, f"seed={seed}") for seed in (0, 1)]
    for seed, run in enumerate(runs):
        measure(run, {("ddim", 2): 9.0 + 4 * seed, ("ddim", 10): 4.0 + 4 * seed}, 0.01)
    quality = samplers(*runs)
    assert [one.point.estimate.value for one in quality.placed] == [11.0, 6.0]
    low, high = quality.placed[1].point.estimate.interval or (0, 0)
    half = 1.96 * float(np.std(HALVES + 0.01 * OWN[1], ddof=1))
    assert high - low == pytest.approx(2 * half, rel=0.02)
    assert quality.sentence.endswith("; on the trained networks of 2 seeds.")


def test_a_seed_without_the_whole_grid_is_left_out(tmp_path: Path):
    runs = [make_run(tmp_path, f"seed={seed}") for seed in (0, 1)]
    measure(runs[0], {("ddim", 2): 9.0, ("ddim", 5): 6.0, ("ddim", 10): 4.0})
    measure(runs[1], {("ddim", 2): 9.0, ("ddim", 5): 6.0})
    quality = samplers(*runs)
    assert (quality.varied.seeds, len(quality.placed)) == ((0,), 3)


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 9},
        {"seed": 9},
        {"weights": {"checkpoint": "last", "ema_std": 0}},
        {"step": 10},
        {"data": {"name": "digits", "fingerprint": "other", "train": 1}},
    ],
)
def test_only_measurements_with_all_else_equal_belong_together(tmp_path: Path, change: dict[str, Any]):
    run = make_run(tmp_path)
    measure(run, {("ddim", 2): 9.0, ("ddim", 5): 6.0})
    measure(run, {("ddim", 10): 4.0}, **change)
    assert [one.x for one in samplers(run).placed] == [2, 5]


def test_a_sampler_with_two_settings_is_two_lines(tmp_path: Path):
    run = make_run(tmp_path)
    for eta in (0.0, 1.0):
        for steps, value in ((2, 9.0), (5, 6.0)):
            add_measurement(run, value + eta, sampler=sampler("ddim", steps, eta=eta))
    assert list(samplers(run).lines) == ["ddim eta 0.0", "ddim eta 1.0"]


def test_a_metric_that_the_sampler_does_not_change_is_no_curve(tmp_path: Path):
    run = make_run(tmp_path)
    measure(run, {("ddim", 2): 3.0, ("ddim", 5): 3.0, ("heun", 2): 3.0})
    assert sampler_qualities([network(run)]) == []


def test_many_settings_are_plotted_but_not_tested(tmp_path: Path):
    run = make_run(tmp_path, "schedule.timesteps=100")
    measure(run, {("ddim", steps): 10 + 1 / steps for steps in range(1, MOST_POINTS + 2)})
    quality = samplers(run)
    assert len(quality.placed) == MOST_POINTS + 1
    assert "more than 64 settings are not tested" in quality.sentence


@pytest.mark.parametrize(
    ("block", "guidance", "count"),
    [
        ({"name": "ddim", "steps": 5}, {}, 5),
        ({"name": "heun", "steps": 5}, {}, 9),
        ({"name": "ddpm"}, {}, 20),
        ({"name": "ddim", "steps": 5}, {"weight": 3.0, "rescale": 0.0, "interval": None}, 10),
        ({"name": "ddim", "timesteps": [19, 10, 3]}, {}, 3),
    ],
)
def test_evaluations_are_those_of_the_plan(
    tmp_path: Path, block: dict[str, Any], guidance: dict[str, Any], count: int
):
    classes = ["model.classes=true"] if guidance else []
    run = make_run(tmp_path, *classes)
    add_measurement(run, 3.0, sampler=block, guidance=guidance)
    (*_, measured) = network(run).measurements
    assert evaluations(load_run(run), measured) == count


def averages(run: Path, values: dict[float | None, float], step: int = 20) -> None:
    for index, (std, value) in enumerate(values.items()):
        weights = {"checkpoint": "last", "ema_std": std}
        add_measurement(run, value, HALVES + 0.1 * OWN[index], weights=weights, step=step)


def test_the_length_of_the_average(tmp_path: Path):
    run = make_run(tmp_path)
    averages(run, {0.1: 6.0, 0.05: 4.0, 0.02: 4.05, None: 5.0, 0: 9.0})
    (quality,) = ema_qualities([network(run)])
    assert [(one.name, one.x) for one in quality.placed] == [
        ("0.02", 0.02),
        ("0.05", 0.05),
        ("0.1", 0.1),
        ("plain weights", None),
        ("the run's own average", None),
    ]
    assert quality.sentence == (
        "fd_cnn by EMA length: 0.05 has the best value, 4.0 [2.1, 5.9]; 0.02 is within noise of it; 0.1, "
        "plain weights and the run's own average are worse by more than noise; on one trained network."
    )
    figure = plot(quality, "fd_cnn")
    apart = [line for line in figure.axes[0].lines if list(line.get_xdata()) == [0, 1]]
    assert [line.get_ydata()[0] for line in apart] == [9.0, 5.0]


def test_a_length_is_chosen_on_validation_images_and_reported_on_test_images(tmp_path: Path):
    run = make_run(tmp_path)
    for split, values in (("test", {0.05: 7.0, 0.1: 6.0}), ("validation", {0.05: 4.0, 0.1: 5.0})):
        for std, value in values.items():
            block = {"name": "fd_cnn", "reference": split}
            scores = {"fd_cnn": score(value, 0.2, split=split, metric=block)}
            weights = {"checkpoint": "last", "ema_std": std}
            add_measurement(run, value, weights=weights, scores=scores)
    sentences = [quality.sentence for quality in ema_qualities([network(run)])]
    assert len(sentences) == 2
    begins = "fd_cnn on validation images by EMA length: 0.05"
    (chosen,) = [text for text in sentences if text.startswith(begins)]
    (reported,) = [text for text in sentences if text != chosen]
    assert "Chosen" not in chosen
    assert reported.startswith("fd_cnn by EMA length: 0.1")
    assert "Chosen on validation images: 0.05, which has 7.00 [" in reported
    assert reported.endswith("] on test images.")


def test_an_own_average_of_another_step_says_so(tmp_path: Path):
    run = make_run(tmp_path)
    averages(run, {0.1: 6.0, 0.05: 4.0})
    averages(run, {None: 5.0}, step=10)
    (quality,) = ema_qualities([network(run)])
    assert quality.placed[-1].name == "the run's own average (step 10)"


def test_weights_without_a_length_are_no_curve(tmp_path: Path):
    run = make_run(tmp_path)
    averages(run, {None: 5.0, 0: 9.0})
    assert ema_qualities([network(run)]) == []


def test_json_has_the_curve_in_full(tmp_path: Path):
    run = make_run(tmp_path)
    measure(run, {("ddim", 2): 9.0, ("ddim", 5): 4.0})
    found = data(samplers(run))
    assert (found["field"], found["metric"], found["seeds"]) == (SAMPLER, "fd_cnn", [0])
    first, second = found["points"]  # type: ignore[misc]
    assert (first["setting"], first["x"], first["within_noise"]) == (sampler("ddim", 2), 2, False)
    assert (second["value"], second["best"]) == (4.0, True)


def test_the_report_of_a_run_shows_its_grid(tmp_path: Path):
    run = make_run(tmp_path)
    assert "Quality by" not in write_report(run).read_text()
    measure(run, GRID)
    averages(run, {0.1: 6.0, 0.05: 4.0})
    html = write_report(run).read_text()
    assert "<h2>Quality by sampler and EMA length</h2>" in html
    assert samplers(run).sentence in html
    assert ">network evaluations per image<" in html
    assert ">EMA length σ_rel<" in html


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")
def test_the_section_fits_every_window(tmp_path: Path):
    run = make_run(tmp_path, "name=a-name-that-is-long-enough-for-a-narrow-window")
    measure(run, GRID)
    averages(run, {0.1: 6.0, 0.05: 4.0, None: 5.0})
    comparison = compare([run])
    page = write_page(comparison, comparison.groups, tmp_path / "page.html")
    browser = Browser(tmp_path / "profile")
    try:
        for file in (page, write_report(run)):
            for width, dark in ((1440, False), (390, True)):
                browser.open(file, width, dark)
                assert browser.ask("document.documentElement.scrollWidth") <= width
                assert browser.ask("document.body.innerText.includes('Quality by sampler and EMA length')")
        assert browser.complaints == []
    finally:
        browser.close()


def test_a_report_says_why_evaluations_are_not_known(tmp_path: Path):
    run = make_run(tmp_path)
    measure(run, GRID)
    text = (run / "spec.yaml").read_text()
    (run / "spec.yaml").write_text(text.replace("name: cosine", "name: gone"))
    html = write_report(run).read_text()
    assert "The samplers&#39; evaluations are not known (unknown schedule" in html


def test_only_settings_that_vary_are_found(tmp_path: Path):
    run = make_run(tmp_path)
    add_measurement(run, 3.0)
    assert varied([network(run)], SAMPLER) == []
