"""Plots of evaluations by timestep, in a run's report and in a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import LOG_SNR, T, make_run, per_t
from matplotlib.colors import to_rgba

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.figures import CaptionedFigure, figures
from ddpmx.pages import canvas, plots
from ddpmx.pages.timestep_plots import MOST_CURVES, timestep_figures
from ddpmx.spec.loading import load
from ddpmx.storage.folder import RunFolder
from ddpmx.theory.effective import effective_weight


def test_evaluations_go_from_pale_to_full():
    events = [per_t(epoch, loss=1 / epoch) for epoch in range(1, 30)]
    figure = timestep_figures(events)["loss_by_t"]
    axes = figure.axes[0]
    assert len(axes.lines) == MOST_CURVES
    for curve, loss in ((axes.lines[0], 1.0), (axes.lines[-1], 1 / 29)):
        np.testing.assert_array_equal(curve.get_xdata(), LOG_SNR)
        np.testing.assert_allclose(curve.get_ydata(), loss * np.array([4.0, 3.0, 2.0, 1.0]))
    alphas = [curve.get_alpha() for curve in axes.lines]
    assert alphas == sorted(set(alphas))
    assert alphas[-1] == 1
    assert {text.get_text() for text in axes.get_legend().get_texts()} >= {
        "epoch 1",
        "epoch 29",
        "share of training loss, at most 40%",
    }
    low, high = axes.get_xlim()
    assert low > high  # noise grows to the right


def test_the_axis_says_t_below_the_log_snr():
    label = timestep_figures([per_t(1)])["bits_by_t"].axes[0].xaxis.get_major_formatter()
    assert [label(level, 0) for level in (-6.0, -4.0, 1.0, 2.5)] == ["−6\n14", "−4\n12", "1\n6", "2.5\n4"]
    assert label(5.0, 0).strip() == "5"  # no timestep has this log-SNR


def test_the_shading_is_the_share_of_the_last_evaluation():
    last = per_t(2, share=[0.1, 0.2, 0.3, 0.4])
    (under,) = (axes for axes in timestep_figures([per_t(1), last])["loss_by_t"].axes if not axes.lines)
    (shape,) = under.collections
    (outline,) = shape.get_paths()
    for level, share in zip(LOG_SNR[1:-1], last["share"][1:-1], strict=True):
        assert outline.contains_point((level, 0.99 * share))
        assert not outline.contains_point((level, 1.01 * share))
    assert outline.vertices[:, 1].max() == 0.4


def test_missing_bits_are_gaps_and_without_any_there_is_no_figure():
    (curve,) = timestep_figures([per_t(1)])["bits_by_t"].axes[0].lines
    np.testing.assert_array_equal(np.isfinite(curve.get_ydata()), [False, True, True, True])
    assert list(timestep_figures([{**per_t(1), "bits": [None] * 4}])) == ["loss_by_t"]
    assert timestep_figures([]) == {}


def test_without_log_snr_the_axis_is_t():
    axes = timestep_figures([per_t(1, log_snr=[None] * 4)])["loss_by_t"].axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), T)
    assert axes.get_xlabel() == "t"


def test_the_gradients_spikes_are_not_averaged_away():
    norms = np.ones(3000)
    norms[1234] = 50.0
    axes = plots.gradient_figure(range(1, 3001), norms, clip=2.0).axes[0]
    curves = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert max(curves["maximum"]) == 50.0
    assert max(curves["mean"]) == pytest.approx((50 + 9) / 10)
    assert set(curves["clipped above 2"]) == {2.0}


def compared(tmp_path: Path, *runs: tuple[tuple[str, ...], dict[str, Any]]) -> dict[str, CaptionedFigure]:
    made = []
    for overrides, event in runs:
        made.append(make_run(tmp_path, *overrides, epochs=1))
        RunFolder(made[-1]).add_event(per_t(1, loss=100.0))  # an earlier evaluation, which does not count
        RunFolder(made[-1]).add_event({"event": "per_t", **event})
    return {plot.figure.axes[0].get_title(loc="left"): plot for plot in figures(compare(made))}


def test_a_comparison_plots_the_mean_over_seeds_with_the_effective_weight_behind(tmp_path: Path):
    plot = compared(
        tmp_path,
        (("loss.norm=l1", "seed=0"), per_t(2, loss=1.0)),
        (("loss.norm=l1", "seed=1"), per_t(2, loss=2.0)),
        (("loss.norm=l2",), per_t(2, loss=7.0)),
    )["Validation loss by noise level"]
    curves, under = plot.figure.axes
    np.testing.assert_allclose(curves.lines[0].get_ydata(), 1.5 * np.array([4.0, 3.0, 2.0, 1.0]))
    np.testing.assert_allclose(curves.lines[1].get_ydata(), 7.0 * np.array([4.0, 3.0, 2.0, 1.0]))
    spec = load(next(file for file in tmp_path.glob("tiny/*/spec.yaml") if "norm: l1" in file.read_text()))
    log_snr, weight = effective_weight(
        spec.schedule.table(), spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time
    )
    np.testing.assert_allclose(under.lines[0].get_xdata(), log_snr)
    np.testing.assert_allclose(under.lines[0].get_ydata(), weight)
    assert (
        to_rgba(under.lines[0].get_color())
        == to_rgba(curves.lines[0].get_color())
        == to_rgba(canvas.style(0)[0])
    )
    assert under.get_zorder() < curves.get_zorder()
    assert "not the heights" in plot.caption


def test_bits_are_compared_to_the_baseline_at_its_own_noise_levels(tmp_path: Path):
    plot = compared(
        tmp_path,
        (("loss.norm=l1",), per_t(2, bits=0.5)),
        (("loss.norm=l2",), per_t(2, bits=0.4)),
        (("loss.norm=l2", "schedule.timesteps=30"), per_t(2, bits=0.1, log_snr=[5.0, 1.0, -2.0, -6.0])),
    )["Bits relative to the baseline"]
    ratios = [line.get_ydata() for line in plot.figure.axes[0].lines]
    np.testing.assert_allclose(ratios, [[np.nan, 1, 1, 1], [np.nan, 0.8, 0.8, 0.8], [np.nan] * 4])
    assert "norm=l1" in plot.caption


def test_runs_without_such_events_have_no_such_figures(tmp_path: Path):
    made = [make_run(tmp_path, f"loss.norm={norm}") for norm in ("l1", "l2")]
    titles = [plot.figure.axes[0].get_title(loc="left") for plot in figures(compare(made))]
    assert titles == ["Validation loss", "Training loss", "Effective weight of the x₀ error"]
