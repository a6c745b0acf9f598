"""The search for timesteps against brute force, and its terms against those of the bound."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from ddpmx.components.registry import SCHEDULES
from ddpmx.schedules import Table
from ddpmx.theory.timestep_search import Floats, Pairs, best_chains
from ddpmx.theory.variance import posterior


def total(steps: Floats, decoder: Floats, positions: tuple[int, ...]) -> float:
    """The sum of a chain's terms; positions are descending."""
    pairs = list(pairwise(positions))
    return float(sum(steps[t, s] for t, s in pairs) + decoder[pairs[-1]])


@pytest.mark.parametrize("seed", range(5))
def test_the_search_is_brute_force(seed: int) -> None:
    """Over all subsets of 9 indices that contain the last one, with terms that follow no rule."""
    count = 9
    steps, decoder = np.random.default_rng(seed).exponential(size=(2, count, count))
    found = best_chains(steps, decoder, count)
    assert set(found) == set(range(2, count + 1))
    for indices, chain in found.items():
        every = [(count - 1, *rest[::-1]) for rest in combinations(range(count - 1), indices - 1)]
        best = min(every, key=lambda positions: total(steps, decoder, positions))
        assert chain.positions == best
        assert chain.bits == pytest.approx(total(steps, decoder, best), rel=1e-12)


def test_entries_that_are_no_steps_are_not_read() -> None:
    steps, decoder = np.random.default_rng(0).exponential(size=(2, 6, 6))
    steps[np.triu_indices(6)] = np.nan
    decoder[np.triu_indices(6)] = np.nan
    assert best_chains(steps, decoder, 6)[6].positions == (5, 4, 3, 2, 1, 0)
    assert set(best_chains(steps, decoder, 9)) == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("schedule", ["cosine", "linear", "edm"])
def test_the_pairs_are_the_posteriors_of_skips(schedule: str) -> None:
    table = SCHEDULES.build(schedule, timesteps=40).table()
    pairs = Pairs.of(table.signal.numpy(), table.sigma.numpy())
    indices = torch.tensor([2, 11, 12, 39])
    q = posterior(Table(table.signal[indices], table.sigma[indices]))
    t, s = indices[1:].numpy(), indices[:-1].numpy()
    np.testing.assert_allclose(pairs.posterior[t, s], q.log_lower[1:].exp(), rtol=1e-9)
    np.testing.assert_allclose(pairs.upper[t, s], q.log_upper[1:].exp(), rtol=1e-9)
    np.testing.assert_allclose(pairs.c_x0[t, s], q.c_x0[1:], rtol=1e-9)
    assert np.isnan(pairs.posterior[np.triu_indices(40)]).all()


def test_the_posteriors_term_is_the_difference_of_snr() -> None:
    """½·(SNR_s − SNR_t)·error: Kingma et al. 2021, arXiv:2107.00630, eq. 14."""
    table = SCHEDULES.build("cosine", timesteps=20).table()
    pairs = Pairs.of(table.signal.numpy(), table.sigma.numpy())
    error = np.random.default_rng(0).exponential(size=20)
    snr = table.log_snr.exp().numpy()
    expected = 0.5 * (snr[None] - snr[:, None]) * error[:, None] / np.log(2)
    below = np.tril_indices(20, k=-1)
    np.testing.assert_allclose(pairs.bits(pairs.posterior, error)[below], expected[below], rtol=1e-9)


def test_the_analytic_variance_has_the_least_terms() -> None:
    """If E Var(x_0 | x_t) is the error, a smaller or larger variance costs more."""
    table = SCHEDULES.build("linear", timesteps=30, rescale=True).table()
    pairs = Pairs.of(table.signal.numpy(), table.sigma.numpy())
    error = np.random.default_rng(0).exponential(size=30)
    best = pairs.analytic(error)
    below = np.tril_indices(30, k=-1)
    least = pairs.bits(best, error)[below]
    for factor in (0.9, 1.1):
        assert (pairs.bits(best * factor, error)[below] > least).all()


def test_more_steps_cost_less_and_a_thousand_timesteps_are_no_problem() -> None:
    """All numbers of steps up to 50 at once, for a decoder that needs the last index."""
    table = SCHEDULES.build("cosine", timesteps=1000).table()
    pairs = Pairs.of(table.signal.numpy(), table.sigma.numpy())
    error = 1 / (1 + table.log_snr.exp().numpy())
    decoder = np.tile(np.arange(1000.0), (1000, 1))
    found = best_chains(pairs.bits(pairs.posterior, error), decoder, 50)
    bits = [found[count].bits for count in range(2, 51)]
    assert bits == sorted(bits, reverse=True)
    assert all(len(set(chain.positions)) == count for count, chain in found.items())
