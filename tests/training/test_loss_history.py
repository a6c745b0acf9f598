"""Timesteps drawn by their losses: the history's probabilities against the paper's formula, and its draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from ddpmx.components.registry import SCHEDULES, TIMES
from ddpmx.times.loss_aware import HISTORY, UNIFORM_PROBABILITY, LossHistory


def full(timesteps: int, seed: int = 0) -> tuple[LossHistory, Tensor]:
    """A history of 13 losses of each timestep, and those losses [T, 13]."""
    history = LossHistory(timesteps)
    losses = torch.rand(timesteps, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    losses *= torch.logspace(-2, 0, timesteps, dtype=torch.float64)[:, None]
    for k in range(13):
        history.update(torch.arange(timesteps), losses[:, k])
    return history, losses


def test_probabilities_are_the_papers_formula_of_the_last_ten_losses() -> None:
    history, losses = full(30)
    size = np.sqrt((losses[:, -HISTORY:].numpy() ** 2).mean(axis=1))
    np.testing.assert_allclose(
        history.probabilities(),
        (1 - UNIFORM_PROBABILITY) * size / size.sum() + UNIFORM_PROBABILITY / 30,
        rtol=1e-12,
    )


def test_it_is_uniform_until_each_timestep_has_ten_losses() -> None:
    history = LossHistory(5)
    for k in range(HISTORY):
        assert history.probabilities().tolist() == [0.2] * 5
        assert history.importance().tolist() == pytest.approx([1.0] * 5)
        history.update(
            torch.arange(5 if k < HISTORY - 1 else 4), torch.arange(1.0, 6.0)[: 5 if k < HISTORY - 1 else 4]
        )
    history.update(torch.tensor([4]), torch.tensor([5.0]))
    np.testing.assert_allclose(history.probabilities(), 0.999 * np.arange(1, 6) / 15 + 0.0002, rtol=1e-12)
    nothing = LossHistory(5)
    nothing.update(torch.arange(5).repeat(HISTORY), torch.zeros(5 * HISTORY))
    assert nothing.probabilities().tolist() == [0.2] * 5


def test_frequencies_are_the_probabilities() -> None:
    history, _ = full(50)
    u = torch.rand(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    drawn = torch.bincount(history.draw(u), minlength=50).numpy()
    assert stats.chisquare(drawn, history.probabilities().numpy() * len(u)).pvalue > 1e-4
    edge = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)
    assert history.draw(edge).tolist() == [0, 49]


def test_the_mean_over_draws_is_the_uniform_mean_with_less_variance() -> None:
    """The paper's point: with p ∝ √E[L²], the importance-weighted loss varies least."""
    history, losses = full(200)
    p, importance, loss = history.probabilities(), history.importance(), losses[:, -HISTORY:].mean(1)
    assert float((p * importance * loss).sum()) == pytest.approx(float(loss.mean()), rel=1e-12)
    second = losses[:, -HISTORY:].square().mean(1)
    assert float((p * importance.square() * second).sum()) < 0.7 * float(second.mean())


def test_a_timestep_that_is_twice_in_a_batch_counts_twice() -> None:
    once, split = LossHistory(3), LossHistory(3)
    t, losses = torch.tensor([2, 2, 0, 2]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    once.update(t, losses)
    for i in range(4):
        split.update(t[i : i + 1], losses[i : i + 1])
    assert torch.equal(once.losses, split.losses)
    assert once.counts.tolist() == [1, 0, 3]
    assert once.losses[2, :3].tolist() == [1.0, 2.0, 4.0]


def test_other_times_have_no_state_and_this_one_starts_uniform() -> None:
    table = SCHEDULES.build("cosine", timesteps=20).table()
    for name in TIMES.names():
        assert (TIMES.build(name).start(table) is not None) == (name == "loss_aware")
    time, u = TIMES.build("loss_aware"), (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    state = time.start(table)
    assert state is not None
    assert torch.equal(time.draw(u, table), state.draw(u))
    torch.testing.assert_close(time.importance(table), state.importance())
