"""Grids, the arguments of plans, and the rows of ddpm and ddim against the papers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sampler_tables import LINEAR, timesteps

from ddpmx.components.registry import PREDICTIONS, SAMPLERS, SCHEDULES
from ddpmx.errors import SpecError
from ddpmx.rows import Row
from ddpmx.samplers import Point, Sampler
from ddpmx.samplers.grid import GRIDS, register_grid
from ddpmx.schedules import Table


def close(a: Row, b: Row, rel: float = 1e-11) -> bool:
    numbers = [(a.c_x, b.c_x), (a.c_x0, b.c_x0), (a.c_noise, b.c_noise)]
    return all(math.isclose(x, y, rel_tol=rel, abs_tol=1e-13) for x, y in numbers)


# Grids.


@pytest.mark.parametrize("grid", ["leading", "trailing", "linspace"])
def test_grids_are_diffusers(grid: str) -> None:
    from diffusers import DDPMScheduler

    for total, steps in [
        (1000, 50),
        (1000, 48),
        (1000, 7),
        (1000, 1),
        (7, 6),
        (15, 13),
        (10, 10),
        (300, 299),
        (400, 128),
        (1, 1),
    ]:
        scheduler = DDPMScheduler(total, timestep_spacing=grid)
        scheduler.set_timesteps(steps)
        table = SCHEDULES.build("linear", timesteps=total).table()
        plan = SAMPLERS.build("ddpm", steps=steps, grid=grid).plan(table)
        # diffusers' grid for (15, 13) has a 14th index, −1
        assert timesteps(plan) == scheduler.timesteps[:steps].tolist()


@pytest.mark.parametrize("grid", ["leading", "trailing", "linspace"])
def test_grids_at_every_step_count(grid: str) -> None:
    for total in (1, 2, 17, 64):
        table = SCHEDULES.build("cosine", timesteps=total).table()
        for steps in range(1, total + 1):
            indices = timesteps(SAMPLERS.build("ddim", steps=steps, grid=grid).plan(table))
            assert len(indices) == steps
            assert 0 <= indices[-1] <= indices[0] <= total - 1
            assert all(after < before for before, after in itertools.pairwise(indices))
        assert indices == list(range(total - 1, -1, -1))


def test_defaults() -> None:
    """ddpm evaluates at every index, ddim at 50 trailing ones."""
    assert timesteps(SAMPLERS.build("ddpm").plan(LINEAR)) == list(range(999, -1, -1))
    assert timesteps(SAMPLERS.build("ddpm", grid="all").plan(LINEAR)) == list(range(999, -1, -1))
    assert timesteps(SAMPLERS.build("ddim").plan(LINEAR)) == list(range(999, -1, -20))
    assert len(SAMPLERS.build("ddpm", steps=10).plan(LINEAR)) == 10


def test_a_new_grid_is_a_function() -> None:
    try:
        register_grid("halves")(lambda table, steps: [(table.timesteps - 1) * 0.5**i for i in range(steps)])
        assert timesteps(SAMPLERS.build("ddim", steps=3, grid="halves").plan(LINEAR)) == [999, 499.5, 249.75]
        assert "halves" in SAMPLERS.get("ddim").model_json_schema()["properties"]["grid"]["enum"]
    finally:
        del GRIDS["halves"]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"steps": 1001}, "steps"),
        ({"steps": 10, "grid": "all"}, "steps"),
        ({"timesteps": (1000.0, 1.0)}, "timesteps"),
        ({"timesteps": (3.0, -1.0)}, "timesteps"),
    ],
)
def test_parameters_that_do_not_fit_the_table_are_refused(parameters: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError) as error:
        SAMPLERS.build("ddim", **parameters).plan(LINEAR)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": "50"}, "steps"),
        ({"grid": "trailin"}, "grid"),
        ({"timesteps": []}, "timesteps"),
        ({"timesteps": [1, 2]}, "timesteps"),
        ({"timesteps": [2, 2]}, "timesteps"),
        ({"clip": 0.0}, "clip"),
        ({"eta": -0.1}, "eta"),
        ({"variance": "posterior"}, "variance"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError) as error:
        SAMPLERS.build("ddim", **parameters)
    assert error.value.field == field


def test_plan_arguments_are_checked() -> None:
    sampler = SAMPLERS.build("ddpm")
    for wrong in ([], [1, 2], [5, float("nan")]):
        with pytest.raises(SpecError) as error:
            sampler.plan(LINEAR, timesteps=wrong)
        assert error.value.field == "timesteps"
    with pytest.raises(SpecError) as error:
        sampler.plan(LINEAR, clip=-1.0)
    assert error.value.field == "clip"


def test_plan_arguments_replace_fields() -> None:
    sampler = SAMPLERS.build("ddim", clip=2.0, timesteps=[900, 10.5])
    assert sampler.plan(LINEAR).clip == 2.0
    assert sampler.plan(LINEAR, clip=None).clip is None
    assert sampler.plan(LINEAR, clip=0.5).clip == 0.5
    assert timesteps(sampler.plan(LINEAR)) == [900, 10.5]
    assert timesteps(sampler.plan(LINEAR, timesteps=[7.25, 3])) == [7.25, 3]


# Coefficients.


def test_ddpm_rows_are_the_papers() -> None:
    """Ho et al., eq. 7, with α, ᾱ and β, in numpy."""
    beta = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = np.cumprod(1 - beta)
    posterior = SAMPLERS.build("ddpm", variance="posterior").plan(LINEAR).rows
    upper = SAMPLERS.build("ddpm", variance="beta").plan(LINEAR).rows
    for row, other in zip(posterior[:-1], upper[:-1], strict=True):
        t = int(row.t)
        assert row.c_x0 == pytest.approx(math.sqrt(alpha_bar[t - 1]) * beta[t] / (1 - alpha_bar[t]), rel=1e-9)
        assert row.c_x == pytest.approx(
            math.sqrt(1 - beta[t]) * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]), rel=1e-9
        )
        assert row.c_noise**2 == pytest.approx(
            (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta[t], rel=1e-9
        )
        assert other.c_noise**2 == pytest.approx(beta[t], rel=1e-9)
        assert (other.c_x, other.c_x0) == (row.c_x, row.c_x0)


def test_ddim_rows_are_the_papers() -> None:
    """Song et al., eq. 12 and 16, in numpy, on a grid of 10 indices."""
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    for eta in (0.0, 0.5, 1.0, 1.01):
        rows = SAMPLERS.build("ddim", steps=10, eta=eta).plan(LINEAR).rows
        for row, following in itertools.pairwise(rows):
            a, b = alpha_bar[int(row.t)], alpha_bar[int(following.t)]
            std = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
            direction = math.sqrt(1 - b - std**2)
            assert row.c_noise == pytest.approx(std, rel=1e-9)
            assert row.c_x == pytest.approx(direction / math.sqrt(1 - a), rel=1e-9)
            assert row.c_x0 == pytest.approx(math.sqrt(b) - direction * math.sqrt(a / (1 - a)), rel=1e-9)


def test_ddim_at_eta_1_is_ddpm() -> None:
    ddim = SAMPLERS.build("ddim", steps=20, eta=1.0).plan(LINEAR)
    ddpm = SAMPLERS.build("ddpm", steps=20).plan(LINEAR)
    assert all(close(a, b) for a, b in zip(ddim, ddpm, strict=True))


def test_too_much_eta_is_refused() -> None:
    with pytest.raises(SpecError, match="adds more noise than x has") as error:
        SAMPLERS.build("ddim", steps=10, eta=3.0).plan(LINEAR)
    assert error.value.field == "eta"


SAMPLED = [
    ("ddpm", {"variance": "posterior"}),
    ("ddpm", {"variance": "beta"}),
    ("ddim", {}),
    ("ddim", {"eta": 0.7}),
]


@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v", "velocity"])
@pytest.mark.parametrize(("name", "parameters"), SAMPLED)
def test_last_row_is_the_predicted_x0(name: str, parameters: dict[str, object], prediction: str) -> None:
    for grid in ("leading", "trailing", "linspace"):
        for steps in (1, 2, 10):
            last = (
                SAMPLERS.build(name, **parameters, grid=grid, steps=steps).plan(LINEAR, prediction).rows[-1]
            )
            assert (last.c_x, last.c_x0, last.c_noise, last.c_anchor, last.c_history) == (0, 1, 0, 0, ())


@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v", "velocity"])
def test_rows_carry_the_prediction(prediction: str) -> None:
    plan = SAMPLERS.build("ddim", timesteps=[998.5, 30, 4.75]).plan(LINEAR, prediction)
    reference = SAMPLERS.build("ddim", timesteps=[998.5, 30, 4.75]).plan(LINEAR, PREDICTIONS.build("x_start"))
    signal, sigma = LINEAR.at(torch.tensor(timesteps(plan), dtype=torch.float64))
    from_x, from_output = PREDICTIONS.build(prediction).x0_from(signal, sigma)
    assert [row.x0_from_x for row in plan] == from_x.tolist()
    assert [row.x0_from_output for row in plan] == from_output.tolist()
    assert all(close(a, b, rel=0) for a, b in zip(plan, reference, strict=True))


@pytest.mark.parametrize("family", ["exploding", "flow"])
@pytest.mark.parametrize(("name", "parameters"), [("ddpm", {}), ("ddim", {}), ("ddim", {"eta": 0.7})])
def test_rows_are_the_same_process_in_every_family(
    name: str, parameters: dict[str, object], family: str
) -> None:
    """The process of x/signal depends on log-SNR only, so the rows follow from those of LINEAR."""
    ratio = LINEAR.sigma_ve
    signal = torch.ones_like(ratio) if family == "exploding" else 1 / (1 + ratio)
    sampler = SAMPLERS.build(name, **parameters, steps=20)
    plain, other = sampler.plan(LINEAR), sampler.plan(Table(signal, signal * ratio))
    scale = signal / LINEAR.signal
    for row, theirs, following in zip(plain, other, plain.rows[1:], strict=False):
        here, there = scale[int(row.t)].item(), scale[int(following.t)].item()
        assert theirs.c_x == pytest.approx(row.c_x * there / here, rel=1e-9)
        assert theirs.c_x0 == pytest.approx(row.c_x0 * there, rel=1e-9)
        assert theirs.c_noise == pytest.approx(row.c_noise * there, rel=1e-9)


def test_init_scale_is_the_root_mean_square_of_x() -> None:
    assert SAMPLERS.build("ddpm").plan(LINEAR).init_scale == pytest.approx(1)
    exploding = Table(torch.ones(1000, dtype=torch.float64), LINEAR.sigma_ve)
    plan = SAMPLERS.build("ddim", timesteps=[500, 3]).plan(exploding)
    assert plan.init_scale == pytest.approx(math.hypot(1, LINEAR.sigma_ve[500].item()))


def test_a_table_that_ends_in_pure_noise() -> None:
    """Where signal = 0, v determines x_0 but ε does not; of x only ddim keeps anything, its noise."""
    beta = torch.linspace(1e-4, 0.02, 100, dtype=torch.float64)
    beta[-1] = 1
    signal = torch.sqrt(torch.cumprod(1 - beta, 0))
    table = Table(signal, torch.sqrt(1 - signal.square()))
    with pytest.raises(SpecError, match="'epsilon' cannot recover x_0 at index 99"):
        SAMPLERS.build("ddpm").plan(table, "epsilon")
    first = SAMPLERS.build("ddpm").plan(table, "v").rows[0]
    assert (first.c_x, first.c_x0) == (0, table.signal[98].item())
    first = SAMPLERS.build("ddim", steps=100).plan(table, "v").rows[0]
    assert (first.c_x, first.c_x0) == (table.sigma[98].item(), table.signal[98].item())


def test_signal_below_float32_is_refused() -> None:
    table = SCHEDULES.build("linear", timesteps=100_000).table()
    with pytest.raises(SpecError, match="cannot recover x_0 at index 99999"):
        SAMPLERS.build("ddim").plan(table, "epsilon")


# Samplers that override `rows` or `step`.


def test_a_sampler_may_override_rows() -> None:
    """The base class still provides the indices, the prediction, the clip and the starting scale."""

    class TwoRows(Sampler):
        def rows(self, table: Table, prediction: object, timesteps: object) -> list[Row]:
            return [
                Row(5.0, 0, 1, 0, 1, keep_anchor=True),
                Row(2.5, 0, 1, 0, 0, c_anchor=1.0, c_history=(0.5,)),
            ]

    plan = TwoRows(timesteps=(5.0,), clip=None).plan(LINEAR)
    assert (len(plan), plan.history, plan.clip) == (2, 1, None)


def test_step_sees_neighbours_on_the_grid() -> None:
    steps: list[tuple[float, float]] = []

    class Recording(Sampler):
        def step(self, here: Point, there: Point) -> Row:
            steps.append((here.t, there.t))
            return Row(here.t, here.x0_from_x, here.x0_from_output, c_x=1.0, c_x0=0.0)

    Recording(timesteps=(9.0, 4.5, 0.0)).plan(LINEAR)
    assert steps == [(9.0, 4.5), (4.5, 0.0)]
