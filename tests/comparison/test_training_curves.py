"""Curves over training, on every x axis: where their points are, and what old runs lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import epoch, make_run, score
from matplotlib.figure import Figure

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.training_curves import CaptionedFigure, training_figures, x_axes
from ddpmx.storage.folder import RunFolder


def make(out: Path, events: list[dict[str, Any]], *overrides: str) -> Path:
    """A run with these events."""
    run = make_run(out, *overrides, epochs=0)
    for event in events:
        RunFolder(run).add_event(event)
    return run


def epochs(seconds: float, images: int | None = 640, value: float = 3.0) -> list[dict[str, Any]]:
    """Three epochs, measured at the end of each; of early versions if `images` is None."""
    events = [
        {**epoch(number, 1 / number, {"fd_cnn": score(value + number)}), "seconds": seconds}
        for number in (1, 2, 3)
    ]
    for event in events:
        if images is None:
            del event["images"]
        else:
            event["images"] = images * event["epoch"]
    return events


def figures(*runs: Path) -> dict[str, CaptionedFigure]:
    """The figures by title."""
    plotted = training_figures(compare(runs), "")
    return {one.figure.axes[0].get_title(loc="left"): one for one in plotted}


def xs(figure: Figure) -> list[list[float]]:
    """The x values of each curve that has points."""
    curves = [np.asarray(line.get_xdata(), dtype=float) for line in figure.axes[0].lines]
    return [x.tolist() for x in curves if np.isfinite(x).any()]


@pytest.mark.parametrize("title", ["Validation loss", "Training loss", "fd_cnn"])
def test_each_axis_has_the_positions_that_the_run_logged(tmp_path: Path, title: str):
    plotted = figures(make(tmp_path, epochs(seconds=20.0)))[title]
    assert xs(plotted.figure) == [[1, 2, 3]]
    assert {key: xs(figure) for key, figure in plotted.over.items()} == {
        "step": [[10, 20, 30]],
        "images": [[640, 1280, 1920]],
        "seconds": [[20, 40, 60]],
    }
    assert plotted.over["seconds"].axes[0].get_xlabel() == "training time in seconds"


def test_a_measurement_within_an_epoch_is_between_its_ends(tmp_path: Path):
    first, second, _ = epochs(seconds=20.0)
    within = {
        "event": "evaluate",
        "epoch": 1,
        "step": 15,
        "passes": 1.5,
        "images": 960,
        "train_loss": 1.0,
        "val_loss": 1.0,
        "metrics": {"fd_cnn": 3.0},
        "scores": {"fd_cnn": score(3.0)},
    }
    plotted = figures(make(tmp_path, [first, within, second]))["fd_cnn"]
    assert xs(plotted.figure) == [[1, 1.5, 2]]
    assert xs(plotted.over["images"]) == [[640, 960, 1280]]
    assert xs(plotted.over["seconds"]) == [[20, 30, 40]]


def test_a_measurement_after_the_last_epoch_has_no_time_yet(tmp_path: Path):
    (first, *_) = epochs(seconds=20.0)
    within = {
        "event": "evaluate",
        "epoch": 1,
        "step": 15,
        "passes": 1.5,
        "train_loss": 1.0,
        "val_loss": 1.0,
        "metrics": {"fd_cnn": 3.0},
    }
    plotted = figures(make(tmp_path, [first, within]))["fd_cnn"]
    assert xs(plotted.over["step"]) == [[10, 15]]
    np.testing.assert_array_equal(xs(plotted.over["seconds"]), [[20, np.nan]])


def test_a_mean_over_seeds_is_at_their_mean_time(tmp_path: Path):
    fast = make(tmp_path, epochs(seconds=10.0))
    slow = make(tmp_path, epochs(seconds=30.0), "seed=1")
    assert xs(figures(fast, slow)["fd_cnn"].over["seconds"]) == [[20, 40, 60]]


def test_a_run_without_a_column_has_no_curve_on_that_axis(tmp_path: Path):
    old = make(tmp_path, epochs(20.0, images=None), "loss.norm=l1")
    new = make(tmp_path, epochs(20.0))
    assert x_axes(compare([old])) == ["epoch", "step", "seconds"]
    assert x_axes(compare([old, new])) == ["epoch", "step", "images", "seconds"]
    for plotted in figures(old, new).values():
        assert (len(xs(plotted.figure)), len(xs(plotted.over["images"]))) == (2, 1)


@pytest.mark.parametrize(
    ("seconds", "unit", "last"),
    [(59.0, "seconds", 177), (61.0, "minutes", 3.05), (3601.0, "hours", 3 * 3601 / 3600)],
)
def test_time_has_a_readable_unit(tmp_path: Path, seconds: float, unit: str, last: float):
    figure = figures(make(tmp_path, epochs(seconds)))["Training loss"].over["seconds"]
    assert figure.axes[0].get_xlabel() == f"training time in {unit}"
    assert xs(figure)[0][-1] == pytest.approx(last)


def test_large_numbers_of_steps_are_short(tmp_path: Path):
    events = [{**event, "images": 1_000_000 * event["epoch"]} for event in epochs(1.0)]
    axes = figures(make(tmp_path, events))["Training loss"].over["images"].axes[0]
    written = [axes.xaxis.get_major_formatter()(value, 0) for value in (0, 9_000, 20_000, 1_500_000)]
    assert written == ["0", "9000", "20k", "1.5M"]


def test_runs_without_epochs_have_no_figures(tmp_path: Path):
    comparison = compare([make(tmp_path, [])])
    assert (x_axes(comparison), list(training_figures(comparison, ""))) == (["epoch"], [])
