"""Figures show the given numbers.

The effective weight depends on the objective, not on how it is expressed.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import ddpmx
from ddpmx.errors import SpecError
from ddpmx.pages import canvas, plots
from ddpmx.schedules import Table, variance_preserving
from ddpmx.spec.loading import load
from ddpmx.theory.effective import effective_weight
from ddpmx.times import Time

PREDICTIONS = ("epsilon", "x_start", "v", "velocity")
SVG = "{http://www.w3.org/2000/svg}"


def table_of(log_snr: torch.Tensor) -> Table:
    return Table(*variance_preserving(log_snr))


def even(timesteps: int = 81, reach: float = 8.0) -> Table:
    """A table whose log-SNR falls evenly from `reach` to −`reach`."""
    return table_of(torch.linspace(reach, -reach, timesteps, dtype=torch.float64))


def lines(figure: plots.Figure) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {line.get_label(): line.get_data() for line in figure.axes[0].lines}


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_weighting_over_log_snr_is_one_objective_for_all_predictions(schedule: str):
    table = ddpmx.SCHEDULES.build(schedule, timesteps=200).table()
    weighting = ddpmx.WEIGHTINGS.build("vlb", clip=1.0)
    curves = [effective_weight(table, weighting, p)[1] for p in PREDICTIONS]
    for curve in curves[1:]:
        np.testing.assert_allclose(curve, curves[0], rtol=1e-9)


def test_constant_weights_have_their_closed_forms():
    """With log-SNR λ even over a width of 16, p(λ) = (T − 1)/(16·T); SNR = e^λ, and sigma² = 1/(1 + e^λ)."""
    table, constant = even(), ddpmx.WEIGHTINGS.build("constant")
    density, snr = 80 / (16 * 81), np.exp(np.linspace(8, -8, 81))
    wanted = {"x_start": np.ones(81), "epsilon": snr, "v": 1 + snr, "velocity": (1 + np.sqrt(snr)) ** 2}
    for prediction, weight in wanted.items():
        log_snr, effective = effective_weight(table, constant, prediction)
        np.testing.assert_allclose(log_snr, np.linspace(8, -8, 81), atol=1e-9)
        np.testing.assert_allclose(effective, weight * density, rtol=1e-9)
        np.testing.assert_allclose(
            effective_weight(table, constant, prediction, "l1")[1], np.sqrt(weight) * density, rtol=1e-9
        )


def test_the_effective_weight_does_not_depend_on_the_number_of_timesteps():
    constant = ddpmx.WEIGHTINGS.build("constant")
    coarse, fine = (
        effective_weight(ddpmx.SCHEDULES.build("cosine", timesteps=t).table(), constant, "epsilon")
        for t in (200, 2000)
    )
    inside = np.abs(coarse[0]) < 6
    interpolated = np.exp(np.interp(-coarse[0], -fine[0], np.log(fine[1])))
    np.testing.assert_allclose(coarse[1][inside], interpolated[inside], rtol=0.02)


def test_the_time_distribution_is_in_the_effective_weight():
    class FirstHalf(Time):
        """Only the less noisy half of the timesteps."""

        def draw(self, u: torch.Tensor, table: Table) -> torch.Tensor:
            return (u * 0.5 * table.timesteps).long()

    table, constant = even(80), ddpmx.WEIGHTINGS.build("constant")
    uniform = effective_weight(table, constant, "x_start", time=ddpmx.TIMES.build("uniform"))[1]
    half = effective_weight(table, constant, "x_start", time=FirstHalf())[1]
    np.testing.assert_allclose(uniform, effective_weight(table, constant, "x_start")[1], rtol=1e-9)
    np.testing.assert_allclose(half[:40], 2 * uniform[:40], rtol=1e-9)
    assert (half[40:] == 0).all()


def test_infinite_log_snr_is_a_gap():
    log_snr = torch.linspace(8, -8, 33, dtype=torch.float64)
    log_snr[0], log_snr[-1] = math.inf, -math.inf
    table = table_of(log_snr)
    weight = effective_weight(table, ddpmx.WEIGHTINGS.build("constant"), "v")[1]
    assert np.isnan(weight[[0, -1]]).all()
    assert np.isfinite(weight[1:-1]).all()
    _, y = lines(plots.schedule_figures(table)["log_snr"])["_"]
    np.testing.assert_array_equal(np.isnan(y), ~np.isfinite(log_snr.numpy()))
    np.testing.assert_allclose(y[1:-1], log_snr.numpy()[1:-1], atol=1e-12)
    figures = {
        **plots.schedule_figures(table),
        **plots.weight_figures(table, ddpmx.WEIGHTINGS.build("constant"), ddpmx.PREDICTIONS.build("v")),
    }
    for figure in figures.values():
        assert "nan" not in canvas.to_svg(figure).lower()


def test_schedule_figures_show_the_table():
    table = ddpmx.SCHEDULES.build("linear", timesteps=300).table()
    figures = plots.schedule_figures(table)
    assert list(figures) == ["beta", "alpha_bar", "log_snr"]
    for name, figure in figures.items():
        x, y = lines(figure)["_"]
        np.testing.assert_array_equal(x, np.arange(300))
        np.testing.assert_array_equal(y, getattr(table, name).numpy())


def test_a_variance_exploding_schedule_shows_signal_and_sigma():
    sigma = torch.logspace(-2, 2, 50, dtype=torch.float64)
    figures = plots.schedule_figures(Table(torch.ones_like(sigma), sigma))
    assert list(figures) == ["signal_sigma", "log_snr"]
    np.testing.assert_array_equal(lines(figures["signal_sigma"])["sigma"][1], sigma.numpy())


@pytest.mark.parametrize(("name", "scale"), [("edm", "log"), ("flow", "linear")])
def test_signal_and_sigma_have_the_axis_that_shows_both(name: str, scale: str):
    table = ddpmx.SCHEDULES.build(name, timesteps=100).table()
    figure = plots.schedule_figures(table)["signal_sigma"]
    assert figure.axes[0].get_yscale() == scale
    curves = lines(figure)
    np.testing.assert_array_equal(curves["signal"][1], table.signal.numpy())
    np.testing.assert_array_equal(curves["sigma"][1], table.sigma.numpy())


@pytest.mark.parametrize("timesteps", [1, 50])
@pytest.mark.parametrize("name", ["edm", "flow"])
def test_schedules_that_are_not_variance_preserving_can_be_plotted(name: str, timesteps: int):
    table = ddpmx.SCHEDULES.build(name, timesteps=timesteps).table()
    figures = plots.schedule_figures(table)
    figures |= plots.weight_figures(
        table, ddpmx.WEIGHTINGS.build("constant"), ddpmx.PREDICTIONS.build("velocity")
    )
    figures["sampler"] = plots.sampler_figure(
        table, {"ddim": ddpmx.SAMPLERS.build("ddim", steps=None).plan(table, "velocity")}
    )
    for figure in figures.values():
        assert "nan" not in canvas.to_svg(figure).lower()


def test_a_prediction_whose_weight_is_not_finite_is_named_but_not_plotted():
    """At signal 0 the ε error says nothing about x_0: every finite x_0 weight is an infinite ε weight."""
    log_snr = torch.linspace(8, -8, 17, dtype=torch.float64)
    log_snr[-1] = -math.inf

    class Even(ddpmx.Weighting):
        """A weight of 1 on the x_0 error."""

        def x_start_weight(self, table: Table) -> torch.Tensor:
            return torch.ones_like(table.signal)

    figures = plots.weight_figures(table_of(log_snr), Even(), ddpmx.PREDICTIONS.build("v"))
    assert "epsilon: not finite" in lines(figures["weight"])
    assert "epsilon" not in lines(figures["weight"])
    with pytest.raises(SpecError, match="index 16"):
        plots.weight_figures(table_of(log_snr), Even(), ddpmx.PREDICTIONS.build("epsilon"))


def test_sampler_figure_shows_the_log_snr_of_each_row():
    table = ddpmx.SCHEDULES.build("cosine", timesteps=100).table()
    plan = ddpmx.SAMPLERS.build("ddim", timesteps=(99.0, 50.5, 3.0)).plan(table)
    x, y = lines(plots.sampler_figure(table, {"mine": plan}))["mine, 3 evaluations"]
    np.testing.assert_allclose(x, [0, 0.5, 1])
    log_snr = table.log_snr.numpy()
    np.testing.assert_allclose(y, [log_snr[99], (log_snr[50] + log_snr[51]) / 2, log_snr[3]])


def test_learning_figure_marks_the_lowest_finite_validation_loss():
    nan = math.nan
    figure = plots.learning_figure(
        [1, 2, 3, 4], [1.0, 0.5, nan, 0.3], [nan, 0.6, 0.4, 0.7], [0.5, 1.0, 1.5], [2.0, math.inf, 1.0]
    )
    curves = lines(figure)
    assert [float(v[0]) for v in curves["lowest, 0.4"]] == [3.0, 0.4]
    np.testing.assert_array_equal(curves["training"][1], [1.0, 0.5, nan, 0.3])
    assert figure.axes[0].get_yscale() == "log"
    canvas.to_svg(plots.learning_figure([1], [nan], [nan]))  # having no finite value is not an error


def test_many_steps_are_averaged_and_none_is_lost():
    steps = np.arange(1, 10_001) / 100
    losses = np.random.default_rng(0).random(10_000)
    x, y = lines(plots.learning_figure([100], [0.5], [0.5], steps, losses))["steps, averaged"]
    assert len(x) == canvas.THIN
    counts = [len(part) for part in np.array_split(steps, canvas.THIN)]
    np.testing.assert_allclose(
        [np.average(x, weights=counts), np.average(y, weights=counts)], [steps.mean(), losses.mean()]
    )


def test_svg_is_deterministic_text_that_follows_the_page():
    def plot() -> str:
        return canvas.to_svg(plots.metric_figure("fd_<$cnn$>", [1, 2, 3], [1e-3, 10.0, 1e3]))

    svg = plot()
    assert svg == plot()
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    words = {element.text for element in root.iter(f"{SVG}text")}
    assert {"fd_<$cnn$>", "epoch", "10⁻³", "10³"} <= words
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    other = ElementTree.fromstring(canvas.to_svg(plots.metric_figure("is_cnn", [1, 2, 3], [1e-3, 10.0, 1e3])))
    assert not set(ids) & {element.get("id") for element in other.iter()}  # both can be on one page
    assert "currentColor" in svg
    assert canvas.INK not in svg
    assert "#ffffff" not in svg  # no background
    assert svg.count("http") == 2  # the names of the two namespaces


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("paper", ["#fcfcfb", "#14171a"])
@pytest.mark.parametrize("colour", canvas.COLOURS)
def test_curves_stand_out_from_light_and_dark_pages(colour: str, paper: str):
    low, high = sorted((luminance(colour), luminance(paper)))
    assert (high + 0.05) / (low + 0.05) >= 3  # WCAG 1.4.11, for graphics


def test_a_spec_has_every_figure_that_has_a_caption(tiny: Path, tmp_path: Path):
    plots.write_plots(tmp_path / "plots", load(tiny))
    written = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert written == set(plots.CAPTIONS) - {"signal_sigma", "learned_weight"}
