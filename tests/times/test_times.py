"""Time distributions: frequencies of draws, closed forms, and the importance factors on the loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from ddpmx.components.registry import SCHEDULES, TIMES, WEIGHTINGS
from ddpmx.errors import SpecError
from ddpmx.schedules import Table, variance_preserving
from ddpmx.theory.effective import effective_weight
from ddpmx.times import NonUniform, Time

NON_UNIFORM = [name for name in TIMES.names() if issubclass(TIMES.get(name), NonUniform)]


PARAMETERS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in TIMES.names()),
    ("logit_normal", {"mean": -0.5, "std": 0.6}),
    ("log_normal", {"mean": 0.3, "std": 2.0}),
    *(("mode", {"scale": scale}) for scale in (-1.0, -0.54, 0.0, 0.81, 2 / (math.pi - 2))),
]


EVERY_TIME = pytest.mark.parametrize(("name", "fields"), PARAMETERS, ids=str)


def table_of(timesteps: int) -> Table:
    return SCHEDULES.build("cosine", timesteps=timesteps).table()


def spread(count: int) -> Tensor:
    """Evenly spaced numbers in (0, 1), none on a boundary k/T of a small T."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@EVERY_TIME
def test_frequencies_are_the_probabilities(name: str, fields: dict[str, Any]) -> None:
    """Pearson's chi-square test of 10⁶ draws; indices expected less than 10 times are pooled."""
    table, time = table_of(200), TIMES.build(name, **fields)
    u = torch.rand(10**6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.cat([time.draw(batch, table) for batch in u.split(100 if name == "stratified" else len(u))])
    assert t.dtype == torch.int64
    assert int(t.min()) >= 0
    drawn, expected = (
        x.numpy() for x in (torch.bincount(t, minlength=200), time.probabilities(table) * len(u))
    )
    common = expected >= 10
    pooled = [drawn[~common].sum()], [expected[~common].sum()]
    if pooled[1][0] < 10:
        assert pooled[0][0] <= pooled[1][0] + 6 * math.sqrt(pooled[1][0])
        pooled = [], []
    observed = np.concatenate([drawn[common], pooled[0]])
    counts = np.concatenate([expected[common], pooled[1]])
    assert stats.chisquare(observed, counts * observed.sum() / counts.sum()).pvalue > 1e-4


@EVERY_TIME
@pytest.mark.parametrize("timesteps", [1, 2, 3, 1000])
def test_probabilities_sum_to_one_and_draws_stay_in_range(
    name: str, fields: dict[str, Any], timesteps: int
) -> None:
    table, time = table_of(timesteps), TIMES.build(name, **fields)
    p = time.probabilities(table)
    assert p.shape == (timesteps,)
    assert p.dtype == torch.float64
    assert bool((p >= 0).all())
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    for u in (0.0, 1 - 2.0**-53):
        assert 0 <= int(time.draw(torch.tensor([u], dtype=torch.float64), table)) < timesteps


@pytest.mark.parametrize(("name", "fields"), [(n, f) for n, f in PARAMETERS if n in NON_UNIFORM], ids=str)
def test_draws_change_exactly_at_the_edges_of_the_cdf(name: str, fields: dict[str, Any]) -> None:
    table, time = table_of(50), TIMES.build(name, **fields)
    assert isinstance(time, NonUniform)
    edges = time.cdf(table)
    for k in range(1, 50):
        if edges[k] < 1 - 1e-9 and not (
            name == "mode" and time.model_dump()["scale"] > 1.7 and k == 25
        ):  # t(u) is flat there
            around = torch.stack([edges[k] * (1 - 1e-12), edges[k] * (1 + 1e-12)])
            assert time.draw(around, table).tolist() == [k - 1, k]


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.6), (-1.0, 2.0)])
def test_logit_normal_is_the_integral_of_the_papers_density(mean: float, std: float) -> None:
    """Esser et al., eq. 19, integrated numerically over each index's interval of (0, 1)."""

    def density(t: float) -> float:
        logit = math.log(t / (1 - t))
        return math.exp(-((logit - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi) * t * (1 - t))

    p = TIMES.build("logit_normal", mean=mean, std=std).probabilities(table_of(20))
    for k in range(1, 19):
        assert p[k].item() == pytest.approx(integrate.quad(density, k / 20, (k + 1) / 20)[0], rel=1e-9)


def test_logit_normal_draws_a_normal_logit() -> None:
    u = spread(1000)
    t = TIMES.build("logit_normal", mean=0.4, std=0.8).draw(u, table_of(10_000)).numpy()
    exact = 1 / (1 + np.exp(-stats.norm.ppf(u.numpy(), 0.4, 0.8)))
    np.testing.assert_array_equal(t, np.floor(exact * 10_000))


def test_log_normal_draws_the_index_nearest_to_edms_sigma() -> None:
    """ln σ = P_mean + P_std·n, rounded to the table's nearest ln σ; on EDM's σ and on a cosine schedule."""
    sigma = torch.logspace(math.log10(0.002), math.log10(80), 300, dtype=torch.float64)
    u = spread(2000)
    drawn = -1.2 + 1.2 * stats.norm.ppf(u.numpy())
    for table in (Table(torch.ones_like(sigma), sigma), table_of(300)):
        nearest = np.abs(drawn[:, None] - np.log(table.sigma_ve.numpy())).argmin(1)
        np.testing.assert_array_equal(TIMES.build("log_normal").draw(u, table).numpy(), nearest)
        edges = (np.log(table.sigma_ve.numpy())[1:] + np.log(table.sigma_ve.numpy())[:-1]) / 2
        p = np.diff(stats.norm.cdf(np.concatenate([[-np.inf], edges, [np.inf]]), -1.2, 1.2))
        np.testing.assert_allclose(
            TIMES.build("log_normal").probabilities(table).numpy(), p, rtol=1e-9, atol=1e-15
        )


def test_log_normal_never_draws_an_index_without_noise_or_without_signal() -> None:
    log_snr = torch.linspace(8, -8, 17, dtype=torch.float64)
    log_snr[0], log_snr[-1] = math.inf, -math.inf
    table = Table(*variance_preserving(log_snr))
    p = TIMES.build("log_normal").probabilities(table)
    assert p[[0, -1]].tolist() == [0, 0]
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    u = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)
    assert TIMES.build("log_normal").draw(u, table).tolist() == [1, 15]
    with pytest.raises(SpecError, match="never draws index 0") as error:
        TIMES.build("log_normal", unbiased=True).importance(table)
    assert error.value.field == "unbiased"
    ends = Table(*variance_preserving(torch.tensor([math.inf, -math.inf], dtype=torch.float64)))
    with pytest.raises(SpecError, match="finite log-SNR"):
        TIMES.build("log_normal").draw(u, ends)


@pytest.mark.parametrize("scale", [-1.0, -0.5, 0.0, 0.81, 1.29, 1.75])
def test_mode_is_the_papers_map(scale: float) -> None:
    """Esser et al., eq. 20, at evenly spaced u: the same draws in reverse order."""
    u = spread(100_003).numpy()
    t = 1 - u - scale * (np.cos(np.pi * u / 2) ** 2 - 1 + u)
    drawn = TIMES.build("mode", scale=scale).draw(torch.from_numpy(u), table_of(64))
    p = TIMES.build("mode", scale=scale).probabilities(table_of(64)).numpy()
    counts = np.bincount(np.floor(t * 64).astype(int), minlength=64)
    np.testing.assert_allclose(np.bincount(drawn.numpy(), minlength=64), counts, atol=1)
    np.testing.assert_allclose(p, counts / len(u), atol=2e-5)


def test_mode_favours_the_middle_or_the_ends() -> None:
    table = table_of(64)
    middle, uniform, ends = (
        TIMES.build("mode", scale=scale).probabilities(table) for scale in (1.29, 0.0, -0.5)
    )
    torch.testing.assert_close(uniform, torch.full_like(uniform, 1 / 64), rtol=1e-12, atol=0)
    assert bool((middle[:32].diff() > 0).all())
    assert bool((ends[:32].diff() < 0).all())
    torch.testing.assert_close(middle, middle.flip(0), rtol=1e-12, atol=0)


def test_cosmap_has_the_papers_density() -> None:
    """The integral of Esser et al., eq. 21, and its map t = 1 − 1/(tan(πu/2) + 1)."""
    p = TIMES.build("cosmap").probabilities(table_of(20))
    for k in range(20):
        area = integrate.quad(
            lambda t: 2 / (math.pi - 2 * math.pi * t + 2 * math.pi * t**2), k / 20, (k + 1) / 20
        )[0]
        assert p[k].item() == pytest.approx(area, rel=1e-12)
    u = spread(5000)
    t = 1 - 1 / (np.tan(np.pi * u.numpy() / 2) + 1)
    np.testing.assert_array_equal(TIMES.build("cosmap").draw(u, table_of(300)).numpy(), np.floor(t * 300))


@pytest.mark.parametrize("batch", [1, 2, 7, 128, 500])
def test_stratified_draws_once_in_each_stratum(batch: int) -> None:
    time = TIMES.build("stratified")
    for seed in range(20):
        u = torch.rand(batch, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        assert time.draw(u, table_of(batch)).unique().numel() == batch  # strata as wide as indices
        counts = torch.bincount(time.draw(u, table_of(1000)), minlength=1000)
        assert int(counts.max()) == 1


def test_stratified_is_vdms_formula() -> None:
    u = torch.tensor([0.875, 0.1, 0.2, 0.3], dtype=torch.float64)
    assert TIMES.build("stratified").draw(u, table_of(1000)).tolist() == [875, 125, 375, 625]


@pytest.mark.parametrize("name", NON_UNIFORM)
def test_importance_makes_the_mean_over_draws_the_uniform_mean(name: str) -> None:
    table = SCHEDULES.build("linear", timesteps=100).table()
    loss = torch.rand(100, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    unbiased = TIMES.build(name, unbiased=True)
    mean = (unbiased.probabilities(table) * unbiased.importance(table) * loss).sum().item()
    assert mean == pytest.approx(loss.mean().item(), rel=1e-12)
    biased = TIMES.build(name)
    assert torch.equal(biased.importance(table), torch.ones_like(loss))
    assert torch.equal(biased.probabilities(table), unbiased.probabilities(table))


def test_uniform_times_need_no_importance() -> None:
    for name in ("uniform", "stratified"):
        assert TIMES.build(name).importance(table_of(10)).tolist() == [1] * 10
        assert TIMES.build(name).probabilities(table_of(10)).tolist() == [0.1] * 10
        with pytest.raises(SpecError, match="unknown key"):
            TIMES.build(name, unbiased=True)


@pytest.mark.parametrize("name", NON_UNIFORM)
def test_an_unbiased_time_has_the_effective_weight_of_uniform_times(name: str) -> None:
    table, weighting = SCHEDULES.build("linear", timesteps=100).table(), WEIGHTINGS.build("snr")
    unbiased = effective_weight(table, weighting, "v", time=TIMES.build(name, unbiased=True))[1]
    np.testing.assert_allclose(unbiased, effective_weight(table, weighting, "v")[1], rtol=1e-12)


def test_a_plugins_probabilities_are_counted() -> None:
    class Squared(Time):
        """t = u²."""

        def draw(self, u: Tensor, table: Table) -> Tensor:
            return (u.square() * table.timesteps).long()

    p = Squared().probabilities(table_of(10)).numpy()
    np.testing.assert_allclose(p, np.diff(np.sqrt(np.arange(11) / 10)), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("logit_normal", "std", 0.0),
        ("log_normal", "std", -1.0),
        ("mode", "scale", 1.76),
        ("mode", "scale", -1.01),
        ("cosmap", "unbiased", 1),
    ],
)
def test_fields_out_of_range(name: str, field: str, value: object) -> None:
    with pytest.raises(SpecError) as error:
        TIMES.build(name, **{field: value})
    assert error.value.field == field
