"""The network's prediction for a noised batch, in both precisions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from linear_network import Linear, best_gain, experiment_of

import ddpmx
from ddpmx.objective.coefficients import coefficients
from ddpmx.ops import Noise
from ddpmx.theory.variance import posterior, vlb_terms
from ddpmx.training.batch import Batch
from ddpmx.training.experiment import formulation
from ddpmx.training.predicted import bound_terms, predict

T, IDS = torch.tensor([0, 3, 17, 29]), torch.tensor([5, 1, 900, 2])
BATCH = Batch(torch.linspace(-1, 1, 4 * 64).sin().view(4, 1, 8, 8), T, Noise(3, 7, IDS))


def test_x_0_has_the_precision_of_the_coefficients(tmp_path: Path) -> None:
    """The linear network predicts x_0 = gain·x_t in float32, whatever the precision of the rest."""
    experiment = experiment_of(tmp_path, 30, "cosine")
    table, network = experiment.table, Linear(best_gain(experiment.table))
    exact = coefficients(formulation(experiment.spec), table, torch.device("cpu"), torch.float64)
    single, double = predict(experiment, network, BATCH), predict(experiment, network, BATCH, exact)
    assert torch.equal(single.x_t, double.x_t)
    assert torch.equal(single.output, double.output)
    assert (single.x0.dtype, double.x0.dtype) == (torch.float32, torch.float64)
    epsilon = ddpmx.ops.normal(IDS, 7, 3, (1, 8, 8))
    x_t = (
        table.signal[T].float().view(4, 1, 1, 1) * BATCH.x_start
        + table.sigma[T].float().view(4, 1, 1, 1) * epsilon
    )
    assert torch.equal(single.x_t, x_t)
    assert torch.equal(double.x0, double.output.double())  # the network predicts x_start itself
    torch.testing.assert_close(single.x0.double(), double.x0, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("variance", [None, "posterior", "beta", "learned"])
def test_the_bound_uses_the_requested_variance(tmp_path: Path, variance: str | None) -> None:
    """By default the network's own, here at 70 % of the way from the posterior's to beta in log space."""
    experiment = experiment_of(tmp_path, 30, "cosine", ", learned_variance: true")
    predicted, q = (
        predict(experiment, Linear(4 * best_gain(experiment.table), 0.4), BATCH),
        posterior(experiment.table),
    )
    upper = {"posterior": 0.0, "beta": 1.0}.get(variance or "", 0.7)
    log_variance = ((1 - upper) * q.log_lower + upper * q.log_upper)[T].view(4, 1, 1, 1)
    assert float(predicted.x0.abs().max()) > 1
    for clip in (False, True):
        x_0 = predicted.x0.clamp(-1, 1) if clip else predicted.x0
        wanted = vlb_terms(BATCH.x_start.double(), predicted.x_t.double(), x_0.double(), log_variance, T, q)
        found = bound_terms(predicted, q, variance, clip=clip)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)
