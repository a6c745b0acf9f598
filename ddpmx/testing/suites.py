"""What a component of each kind must do, whatever it is: a few named checks a kind. The built-ins pass them in ddpmx's own tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..components.registry import PREDICTIONS, SCHEDULES
from ..errors import SpecError
from ..predictions import Prediction
from ..samplers import Sampler
from ..samplers.grid import GRIDS
from ..sampling.loop import sample
from ..schedules import Schedule, Table
from ..times import Time
from ..weightings import Weighting
from . import gaussian
from .mixture import order_of_convergence

Check = tuple[str, Callable[[], str | None]]
"""What is checked, and a function that raises AssertionError or SpecError where it fails; it may return a figure."""

LENGTHS = (1, 2, 10, 1000)
PATHS = {"variance preserving": "cosine", "variance exploding": "edm", "flow": "flow"}


def tables(timesteps: int = 20) -> dict[str, Table]:
    """One table of each family."""
    return {family: SCHEDULES.build(name, timesteps=timesteps).table() for family, name in PATHS.items()}


def _same(a: Tensor, b: Tensor, within: float, what: str) -> None:
    worst = float((a - b).abs().max())
    assert worst <= within, f"{what} differ by {worst:.1e}"


def of_schedule(cls: type[Schedule]) -> Iterator[Check]:
    def falls() -> None:
        for timesteps in LENGTHS:
            log_snr = cls(timesteps=timesteps).table().log_snr
            assert log_snr.shape == (timesteps,)
            assert bool((log_snr.diff() < 0).all()), f"log-SNR does not fall at T = {timesteps}"

    def between() -> None:
        table = cls(timesteps=10).table()
        inside = table.log_snr.isfinite()
        signal, sigma = table.from_log_snr(table.log_snr[inside])
        _same(
            2 * (signal.log() - sigma.log()),
            table.log_snr[inside],
            1e-8,
            "log-SNR and that of from_log_snr(log-SNR)",
        )
        _same(signal, table.signal[inside], 1e-10, "signal and from_log_snr's")

    def again() -> None:
        first, second = (cls(timesteps=10).table() for _ in range(2))
        assert torch.equal(first.signal, second.signal), "two calls of table() differ"

    yield f"log-SNR falls at every step, T = {', '.join(map(str, LENGTHS))}", falls
    yield "from_log_snr is the inverse of log-SNR", between
    yield "the same table each time", again


def of_weighting(weighting: Weighting) -> Iterator[Check]:
    def finite() -> None:
        for family, table in tables().items():
            for name in PREDICTIONS.names():
                try:
                    weight = weighting.weights(table, name)
                except SpecError:
                    continue  # refused, with a reason and the index
                assert weight.shape == (table.timesteps,), f"the shape is {list(weight.shape)}"
                assert weight.dtype == torch.float64, f"the dtype is {weight.dtype}"
                assert bool((weight >= 0).all() & weight.isfinite().all()), (
                    f"not finite, or below 0, for {name} on {family}"
                )

    def one_objective() -> str | None:
        if type(weighting).weights is not Weighting.weights:
            return "has weights() of its own: another objective for each prediction"
        table = tables()["variance preserving"]
        implied = []
        for name in ("epsilon", "v", "velocity"):
            _, from_output = PREDICTIONS.build(name).x0_from(table.signal, table.sigma)
            try:
                implied.append(weighting.weights(table, name) / from_output.square())
            except SpecError:
                return "refused on a cosine table with these parameters"
        for other in implied[1:]:
            _same(
                other / implied[0].clamp(min=1e-300),
                torch.ones_like(other),
                1e-9,
                "the x_0 weights of two predictions",
            )
        return None

    yield "finite and not negative, or refused", finite
    yield "one objective for every prediction", one_objective


def of_prediction(prediction: Prediction) -> Iterator[Check]:
    def round_trip() -> None:
        x_start, epsilon = torch.randn(2, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for family, table in tables().items():
            target_x, target_eps = prediction.target(table.signal, table.sigma)
            from_x, from_output = prediction.x0_from(table.signal, table.sigma)
            back = from_x * (table.signal * x_start + table.sigma * epsilon) + from_output * (
                target_x * x_start + target_eps * epsilon
            )
            told = from_output.isfinite() & from_x.isfinite()
            assert int(told.sum()) >= table.timesteps - 1, f"x_0 is not told on {family}"
            _same(back[told], x_start[told], 1e-8, f"x_0 and what comes back on {family}")

    def scale() -> None:
        for family, table in tables().items():
            scale = prediction.input_scale(table.signal, table.sigma)
            if scale is not None:
                assert bool((scale > 0).all() & scale.isfinite().all()), (
                    f"input_scale is not above 0 and finite on {family}"
                )

    yield "x_0 comes back from x_t and the target", round_trip
    yield "input_scale is finite", scale


def of_time(time: Time) -> Iterator[Check]:
    count = 200_000

    def frequencies() -> None:
        table = tables()["variance preserving"]
        drawn = time.draw((torch.arange(count, dtype=torch.float64) + 0.5) / count, table)
        assert drawn.dtype == torch.int64, f"the dtype is {drawn.dtype}"
        assert int(drawn.min()) >= 0, "an index below 0"
        assert int(drawn.max()) < table.timesteps, "an index beyond T − 1"
        probabilities = time.probabilities(table)
        assert abs(float(probabilities.sum()) - 1) < 1e-9, "the probabilities do not add up to 1"
        _same(
            torch.bincount(drawn, minlength=table.timesteps).double() / count,
            probabilities,
            1e-3,
            "frequencies and probabilities",
        )

    yield "draws indices as often as it says", frequencies


def of_sampler(sampler: Sampler) -> Iterator[Check]:
    table = tables()["variance preserving"]
    sampler = sampler.model_copy(update={"clip": None, "timesteps": None})

    def constant(x: Tensor, t: Tensor) -> Tensor:
        return torch.full_like(x, 0.3)

    def ends_clean() -> None:
        for grid in GRIDS:
            for steps in (1, 2, 3, table.timesteps):
                if grid == "all" and steps != table.timesteps:
                    continue
                plan = sampler.model_copy(update={"steps": steps, "grid": grid}).plan(table, "x_start")
                images = sample(constant, plan, (3, 2), dtype=torch.float64)
                worst = float((images - 0.3).abs().max())
                assert worst < 1e-9, f"{steps} steps of the grid {grid} end {worst:.1e} off the image"

    def visits() -> None:
        wanted = [19.0, 11.5, 4.0]
        seen = [row.t for row in sampler.plan(table, timesteps=wanted) if row.evaluates]
        assert next(t for t in seen if t in wanted) == wanted[0], f"starts at {seen[0]:g}"
        assert set(wanted) <= set(seen), f"evaluates at {seen}, not at each of {wanted}"

    def spread() -> str:
        fine = SCHEDULES.build("cosine", timesteps=300).table()
        denoise = gaussian.denoiser(fine, PREDICTIONS.build("v"), std=0.5)
        plan = sampler.model_copy(update={"steps": 300, "grid": "trailing"}).plan(fine, "v")
        std = float(sample(denoise, plan, (160, 128), dtype=torch.float64).std())
        assert abs(std - 0.5) < 0.03, f"data of standard deviation 0.5 come out with {std:.3f}"
        return f"{std:.3f}"

    def order() -> str | None:
        if any(row.c_noise for row in sampler.plan(table, timesteps=[19.0, 11.5, 4.0])):
            return "not measured: it adds noise"
        measured = order_of_convergence(sampler)
        assert measured > 0.7, f"order {measured:.2f}"
        return f"{measured:.2f}"

    yield "ends at the clean image, on every grid", ends_clean
    yield "evaluates at each index asked for", visits
    yield "keeps the spread of Gaussian data", spread
    yield "order of convergence", order


SUITES: dict[str, Callable[[Any], Iterator[Check]]] = {
    "schedule": of_schedule,
    "weighting": of_weighting,
    "prediction": of_prediction,
    "time": of_time,
    "sampler": of_sampler,
}
