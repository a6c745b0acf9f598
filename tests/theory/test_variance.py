"""The bound's terms against Gaussian algebra, scipy, torch.distributions and diffusers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from ddpmx.components.registry import SCHEDULES, WEIGHTINGS
from ddpmx.errors import SpecError
from ddpmx.schedules import Table
from ddpmx.theory.variance import gaussian_kl, pixel_log_likelihood, posterior, prior_terms, vlb_terms

FAMILIES = pytest.mark.parametrize("schedule", ["cosine", "linear", "edm", "flow"])


def table_of(schedule: str, timesteps: int = 40) -> Table:
    return SCHEDULES.build(schedule, timesteps=timesteps).table()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@FAMILIES
def test_the_posterior_is_bayes_rule(schedule: str) -> None:
    """x_s ~ N(signal_s·x_0, sigma_s²), x_t ~ N(r·x_s, sigma_t² − (r·sigma_s)²) with r = signal_t/signal_s."""
    table = table_of(schedule)
    q = posterior(table)
    signal, sigma = table.signal.numpy(), table.sigma.numpy()
    s, t = slice(None, -1), slice(1, None)
    ratio = signal[t] / signal[s]
    upper = sigma[t] ** 2 - (ratio * sigma[s]) ** 2
    precision = sigma[s] ** -2.0 + ratio**2 / upper
    np.testing.assert_allclose(q.log_lower[1:].exp(), 1 / precision, rtol=1e-9)
    np.testing.assert_allclose(q.log_upper[1:].exp(), upper, rtol=1e-9)
    np.testing.assert_allclose(q.c_x0[1:], signal[s] / sigma[s] ** 2 / precision, rtol=1e-9)
    np.testing.assert_allclose(q.c_x[1:], ratio / upper / precision, rtol=1e-9)
    assert (float(q.c_x[0]), float(q.c_x0[0])) == (0, 1)
    assert float(q.log_lower[0]) == float(q.log_lower[1])
    assert math.exp(float(q.log_upper[0])) == pytest.approx(float(table.sigma[0]) ** 2, rel=1e-12)


def test_the_bounds_are_betas_and_the_interpolation_is_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    table = table_of("linear", 50)
    q = posterior(table)
    np.testing.assert_allclose(q.log_upper.exp(), table.beta, rtol=1e-9)
    theirs = diffusers.DDPMScheduler(50, trained_betas=table.beta.numpy(), variance_type="learned_range")
    v = torch.linspace(-1.2, 1.2, 7, dtype=torch.float64)
    for t in range(1, 50):
        ours = q.log_variance(v.view(1, 1, 7), torch.tensor([t]))
        np.testing.assert_allclose(
            ours[0, 0], theirs._get_variance(t, predicted_variance=v), rtol=1e-4
        )  # theirs is float32


@FAMILIES
def test_terms_are_the_divergence_of_the_two_gaussians(schedule: str) -> None:
    table = table_of(schedule)
    q = posterior(table)
    t = torch.arange(1, 40)
    x_start, x_t, x0_pred, v = (normal(39, 2, 3, seed=seed) for seed in range(4))
    log_variance = q.log_variance(v, t)
    terms = vlb_terms(x_start, x_t, x0_pred, log_variance, t, q)
    true = torch.distributions.Normal(q.mean(x_t, x_start, t), (q.log_lower[t] / 2).exp().view(-1, 1, 1))
    model = torch.distributions.Normal(q.mean(x_t, x0_pred, t), (log_variance / 2).exp())
    exact = torch.distributions.kl_divergence(true, model).mean((1, 2)) / math.log(2)
    np.testing.assert_allclose(terms, exact, rtol=1e-9)
    perfect = vlb_terms(x_start, x_t, x_start, q.log_lower[t].view(-1, 1, 1), t, q)
    np.testing.assert_allclose(perfect, 0, atol=1e-12)


@pytest.mark.parametrize(
    "schedule", ["cosine", "linear", "edm"]
)  # not flow, whose last index is of infinite ε weight
def test_with_the_posteriors_variance_a_term_is_the_vlb_weighting(schedule: str) -> None:
    """½(SNR_s/SNR_t − 1)·ε error² (Ho et al. 2020, eq. 12), for an ε that is off by 0.3."""
    table = table_of(schedule)
    q, t = posterior(table), torch.arange(1, 40)
    x_start, x_t = normal(39, 1, 2), normal(39, 1, 2, seed=1)
    x0_pred = x_start - 0.3 * (table.sigma / table.signal)[t].view(-1, 1, 1)
    terms = vlb_terms(x_start, x_t, x0_pred, q.log_lower[t].view(-1, 1, 1), t, q)
    weight = WEIGHTINGS.build("vlb", first="skip").weights(table, "epsilon")[1:]
    np.testing.assert_allclose(terms * math.log(2), weight * 0.09, rtol=1e-7)


def test_the_best_variance_is_that_of_the_step() -> None:
    """If x_0 = m ± d given x_t, the mean term is lowest at p(x_s | x_t)'s variance lower + (c_x0·d)²."""
    table = table_of("cosine")
    q, d = posterior(table), 0.4
    for i in (1, 20, 39):
        t = torch.tensor([i, i])
        x_start, x_t = torch.tensor([[d], [-d]], dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
        best = (q.log_lower[i].exp() + (q.c_x0[i] * d).square()).log().requires_grad_()
        mean = vlb_terms(x_start, x_t, torch.zeros_like(x_t), best.expand(2, 1), t, q).mean()
        (slope,) = torch.autograd.grad(mean, best)
        assert abs(float(slope)) < 1e-12
        for off in (-0.1, 0.1):
            assert (
                vlb_terms(x_start, x_t, torch.zeros_like(x_t), (best + off).expand(2, 1), t, q).mean() > mean
            )


def test_the_decoder_is_scipys_normal_integrated_over_each_pixels_bin() -> None:
    pixels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    edges = np.concatenate([[-np.inf], (pixels[:-1] + pixels[1:]).numpy() / 2, [np.inf]])
    for mean, std in ((0.1, 0.01), (-0.7, 0.2), (0.999, 0.003)):
        ours = pixel_log_likelihood(
            pixels,
            torch.tensor(mean, dtype=torch.float64),
            torch.tensor(2 * math.log(std), dtype=torch.float64),
        )
        assert ours.exp().sum().item() == pytest.approx(1, rel=1e-12)  # a distribution over the 256 values
        low, high = (edges[:-1] - mean) / std, (edges[1:] - mean) / std
        left, right = stats.norm.cdf(high) - stats.norm.cdf(low), stats.norm.sf(low) - stats.norm.sf(high)
        exact = np.where(low > 0, right, left)
        inside = exact > 1e-250
        np.testing.assert_allclose(ours[inside], np.log(exact[inside]), rtol=1e-9)
        assert bool((ours[~inside] < -570).all())


def test_at_index_0_the_term_is_the_decoders_in_bits() -> None:
    q = posterior(table_of("linear", 1000))
    x_start = torch.tensor([[-1.0, 0.0, 1.0, 16 / 255 - 1]], dtype=torch.float64)
    x0_pred, log_variance = x_start + 0.004, torch.full((1, 4), 2 * math.log(0.01), dtype=torch.float64)
    term = vlb_terms(x_start, torch.zeros_like(x_start), x0_pred, log_variance, torch.tensor([0]), q)
    cdf = stats.norm(0.004, 0.01).cdf
    middle = cdf(1 / 255) - cdf(-1 / 255)
    exact = -np.mean(np.log2([cdf(1 / 255), middle, 1 - cdf(-1 / 255), middle]))
    assert float(term) == pytest.approx(exact, rel=1e-9)


def test_float32_and_its_gradient_are_near_float64_and_finite_far_from_the_mean() -> None:
    """Up to 250 standard deviations away, where the cumulative distribution function rounds to 0 or 1."""
    results = []
    for dtype in (torch.float32, torch.float64):
        x = torch.linspace(-1, 1, 256, dtype=dtype)
        log_variance = torch.full((256,), 2 * math.log(0.01), dtype=dtype, requires_grad=True)
        value = pixel_log_likelihood(x, x.flip(0) * 1.5, log_variance)
        (gradient,) = torch.autograd.grad(value.sum(), log_variance)
        results.append((value.detach().double(), gradient.double()))
    (value, gradient), (exact, exact_gradient) = results
    torch.testing.assert_close(value, exact, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient, exact_gradient, rtol=1e-2, atol=1e-3)


def test_the_prior_is_the_divergence_from_the_starting_noise() -> None:
    x_start = normal(3, 2, 2)
    for schedule in ("linear", "edm"):
        table = table_of(schedule)
        signal, sigma = table.signal[-1], table.sigma[-1]
        start = torch.distributions.Normal(0.0, torch.hypot(signal, sigma))
        exact = torch.distributions.kl_divergence(
            torch.distributions.Normal(signal * x_start, sigma), start
        ).mean((1, 2)) / math.log(2)
        np.testing.assert_allclose(prior_terms(x_start, table), exact, rtol=1e-6, atol=1e-15)
    assert prior_terms(
        x_start, SCHEDULES.build("linear", timesteps=40, zero_terminal_snr=True).table()
    ).tolist() == [0, 0, 0]


def test_kl_of_unequal_gaussians_is_torchs() -> None:
    a, b, c, d = (normal(50, seed=seed) for seed in range(4))
    p, q = torch.distributions.Normal(a, (b / 2).exp()), torch.distributions.Normal(c, (d / 2).exp())
    torch.testing.assert_close(gaussian_kl(a, b, c, d), torch.distributions.kl_divergence(p, q))


def test_tables_that_have_no_such_variance_are_refused() -> None:
    with pytest.raises(SpecError, match="at least 2 timesteps"):
        posterior(table_of("cosine", 1))
    clean = Table(
        torch.tensor([1.0, 0.5], dtype=torch.float64), torch.tensor([0.0, 0.8], dtype=torch.float64)
    )
    with pytest.raises(SpecError, match="index 0 has none"):
        posterior(clean)
