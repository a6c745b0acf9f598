"""The checks that every component of a kind must pass. ddpmx's tests run them on the built-in ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..components.registry import PREDICTIONS, SCHEDULES
from ..emas import Ema
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
"""A name, and a function that raises AssertionError or SpecError on failure and may return a figure."""

LENGTHS = (1, 2, 10, 1000)
"""Numbers of timesteps T at which schedules are checked."""
STEPS = (*range(1, 1001), 10**4, 10**5, 10**6, 16 * 10**6)
"""Training steps at which averages are checked."""
MOST_THINNED = 2000
"""Steps of a training whose snapshots are checked."""
FAMILIES = {"variance preserving": "cosine", "variance exploding": "edm", "flow": "flow"}
"""A schedule of each family."""


def tables(timesteps: int = 20) -> dict[str, Table]:
    """One table of each family, by its name."""
    return {family: SCHEDULES.build(name, timesteps=timesteps).table() for family, name in FAMILIES.items()}


def _assert_close(a: Tensor, b: Tensor, tolerance: float, what: str) -> None:
    difference = float((a - b).abs().max())
    assert difference <= tolerance, f"{what} differ by {difference:.1e}, more than {tolerance:.0e}"


def schedule_checks(cls: type[Schedule]) -> Iterator[Check]:
    def decreases() -> None:
        for timesteps in LENGTHS:
            log_snr = cls(timesteps=timesteps).table().log_snr
            assert log_snr.shape == (timesteps,), (
                f"log-SNR has shape {list(log_snr.shape)} at T = {timesteps}"
            )
            assert bool((log_snr.diff() < 0).all()), f"log-SNR does not decrease at T = {timesteps}"

    def inverse() -> None:
        table = cls(timesteps=10).table()
        finite = table.log_snr.isfinite()
        signal, sigma = table.from_log_snr(table.log_snr[finite])
        # log-SNR = log(signal²/sigma²)
        log_snr = 2 * (signal.log() - sigma.log())
        _assert_close(
            log_snr, table.log_snr[finite], 1e-8, "the table's log-SNR and that of from_log_snr(log-SNR)"
        )
        _assert_close(
            signal, table.signal[finite], 1e-10, "the table's signal and that of from_log_snr(log-SNR)"
        )

    def repeatable() -> None:
        first, second = (cls(timesteps=10).table() for _ in range(2))
        assert torch.equal(first.signal, second.signal), "two calls of table() differ"

    yield f"log-SNR decreases at every step, T = {', '.join(map(str, LENGTHS))}", decreases
    yield "from_log_snr is the inverse of log-SNR", inverse
    yield "table() always returns the same table", repeatable


def weighting_checks(weighting: Weighting) -> Iterator[Check]:
    def valid() -> None:
        for family, table in tables().items():
            for name in PREDICTIONS.names():
                try:
                    weight = weighting.weights(table, name)
                except SpecError:
                    continue  # allowed, since the error names the index and the reason
                assert weight.shape == (table.timesteps,), (
                    f"the weights have shape {list(weight.shape)}, not [{table.timesteps}]"
                )
                assert weight.dtype == torch.float64, f"the weights are {weight.dtype}, not torch.float64"
                assert bool((weight >= 0).all() & weight.isfinite().all()), (
                    f"a weight is negative or not finite, for prediction {name} and a {family} schedule"
                )

    def one_objective() -> str | None:
        if type(weighting).weights is not Weighting.weights:
            return "not checked: it overrides weights(), so each prediction may have its own objective"
        table = tables()["variance preserving"]
        x0_weights = []  # weight of the error in x_0 that each prediction implies
        for name in ("epsilon", "v", "velocity"):
            _, from_output = PREDICTIONS.build(name).x0_from(table.signal, table.sigma)
            try:
                x0_weights.append(weighting.weights(table, name) / from_output.square())
            except SpecError:
                return "not checked: it raises SpecError for a cosine schedule with these parameters"
        for other in x0_weights[1:]:
            _assert_close(
                other / x0_weights[0].clamp(min=1e-300),
                torch.ones_like(other),
                1e-9,
                "the x_0 weights of two predictions",
            )
        return None

    yield "weights are finite and not negative, or a SpecError", valid
    yield "one objective for every prediction", one_objective


def prediction_checks(prediction: Prediction) -> Iterator[Check]:
    def round_trip() -> None:
        x_start, epsilon = torch.randn(2, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for family, table in tables().items():
            target_x, target_eps = prediction.target(table.signal, table.sigma)
            from_x, from_output = prediction.x0_from(table.signal, table.sigma)
            # x_0 = from_x·x_t + from_output·(target_x·x_0 + target_eps·ε)
            recovered = from_x * (table.signal * x_start + table.sigma * epsilon) + from_output * (
                target_x * x_start + target_eps * epsilon
            )
            finite = from_output.isfinite() & from_x.isfinite()
            assert int(finite.sum()) >= table.timesteps - 1, (
                f"x0_from is not finite at more than one index of a {family} schedule"
            )
            _assert_close(
                recovered[finite], x_start[finite], 1e-8, f"x_0 and the recovered x_0 on a {family} schedule"
            )

    def scale() -> None:
        for family, table in tables().items():
            scale = prediction.input_scale(table.signal, table.sigma)
            if scale is not None:
                assert bool((scale > 0).all() & scale.isfinite().all()), (
                    f"input_scale should be positive and finite, but is not on a {family} schedule"
                )

    yield "x_0 is recovered from x_t and the target", round_trip
    yield "input_scale is positive and finite", scale


def time_checks(time: Time) -> Iterator[Check]:
    count = 200_000

    def frequencies() -> None:
        table = tables()["variance preserving"]
        drawn = time.draw((torch.arange(count, dtype=torch.float64) + 0.5) / count, table)
        assert drawn.dtype == torch.int64, f"the indices are {drawn.dtype}, not torch.int64"
        assert int(drawn.min()) >= 0, "an index is below 0"
        assert int(drawn.max()) < table.timesteps, "an index is above T − 1"
        probabilities = time.probabilities(table)
        assert abs(float(probabilities.sum()) - 1) < 1e-9, "the probabilities do not sum to 1"
        _assert_close(
            torch.bincount(drawn, minlength=table.timesteps).double() / count,
            probabilities,
            1e-3,
            "frequencies and probabilities",
        )

    yield "indices are drawn with the stated probabilities", frequencies


def sampler_checks(sampler: Sampler) -> Iterator[Check]:
    table = tables()["variance preserving"]
    sampler = sampler.model_copy(update={"clip": None, "timesteps": None})

    def constant(x: Tensor, t: Tensor) -> Tensor:
        return torch.full_like(x, 0.3)

    def ends_clean() -> None:
        for grid in GRIDS:
            for steps in (1, 2, 3, table.timesteps):
                if grid == "all" and steps != table.timesteps:
                    continue
                chosen = sampler.model_copy(update={"steps": steps, "grid": grid})
                plan = gaussian.planned(chosen, table, PREDICTIONS.build("x_start"), std=0)
                images = sample(constant, plan, (3, 2), dtype=torch.float64)
                error = float((images - 0.3).abs().max())
                assert error < 1e-9, (
                    f"with {steps} steps on the grid {grid}, the result is off by {error:.1e}"
                )

    def visits() -> None:
        requested = [19.0, 11.5, 4.0]
        evaluated = [row.t for row in sampler.plan(table, timesteps=requested) if row.evaluates]
        first = next(t for t in evaluated if t in requested)
        assert first == requested[0], f"starts at {evaluated[0]:g}, not at {requested[0]:g}"
        assert set(requested) <= set(evaluated), f"evaluates at {evaluated}, not at each of {requested}"

    def spread() -> str:
        fine = SCHEDULES.build("cosine", timesteps=300).table()
        v = PREDICTIONS.build("v")
        denoise = gaussian.denoiser(fine, v, std=0.5)
        plan = gaussian.planned(sampler.model_copy(update={"steps": 300, "grid": "trailing"}), fine, v)
        std = float(sample(denoise, plan, (160, 128), dtype=torch.float64).std())
        assert abs(std - 0.5) < 0.03, f"samples of data with standard deviation 0.5 have {std:.3f}"
        return f"{std:.3f}"

    def order() -> str | None:
        if any(row.c_noise for row in sampler.plan(table, timesteps=[19.0, 11.5, 4.0])):
            return "not measured, since it adds noise"
        measured = order_of_convergence(sampler)
        assert measured > 0.7, f"the order is {measured:.2f}, but it should be above 0.7"
        return f"{measured:.2f}"

    yield "ends at the clean image on every grid", ends_clean
    yield "evaluates at each requested index", visits
    yield "preserves the standard deviation of Gaussian data", spread
    yield "order of convergence", order


def ema_checks(ema: Ema) -> Iterator[Check]:
    def in_range() -> None:
        averages = len(ema.decays(1))
        assert averages > 0, "decays(1) is empty, so there is no average"
        for step in STEPS:
            decays = ema.decays(step)
            assert len(decays) == averages, (
                f"there are {len(decays)} averages at step {step}, but {averages} at step 1"
            )
            assert all(0 <= decay <= 1 for decay in decays), (
                f"the decays at step {step} are {decays}, not all in 0…1"
            )

    def repeatable() -> None:
        assert [ema.decays(step) for step in STEPS] == [ema.decays(step) for step in STEPS], (
            "two calls of decays() differ"
        )

    def thins() -> str | None:
        present = set[int]()
        for step in range(1, MOST_THINNED + 1):
            kept = set(ema.kept(step))
            added = sorted(kept - present - {step})
            assert not added, f"kept({step}) has step {added[0]}, which kept({step - 1}) did not have"
            present = kept
        return f"{len(present)} of {MOST_THINNED}" if present else None

    yield "decays are in 0…1, and as many at every step", in_range
    yield "decays() is a function of the step", repeatable
    yield "snapshots are only ever thinned", thins


SUITES: dict[str, Callable[[Any], Iterator[Check]]] = {
    "schedule": schedule_checks,
    "weighting": weighting_checks,
    "prediction": prediction_checks,
    "time": time_checks,
    "sampler": sampler_checks,
    "ema": ema_checks,
}
