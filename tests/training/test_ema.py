from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ddpmx.training.ema import Ema


class Network(nn.Module):
    """Two parameters and an integer buffer, as in a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(3, 2))
        self.vector = nn.Parameter(torch.zeros(4))
        self.register_buffer("count", torch.tensor(0))

    def become(self, step: int) -> None:
        generator = torch.Generator().manual_seed(step)
        for parameter in self.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
        self.count.fill_(step)


def path(steps: int) -> list[list[Tensor]]:
    network, out = Network(), []
    for step in range(steps + 1):
        network.become(step)
        out.append([p.detach().double() for p in network.parameters()])
    return out


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_is_the_weighted_sum_defined_by_its_decays(warmup: bool) -> None:
    network = Network()
    network.become(0)
    ema = Ema(network, decay=0.8, warmup=warmup)
    for step in range(1, 31):
        network.become(step)
        ema.update(network, step)
    decays = [min(0.8, (1 + k) / (10 + k)) if warmup else 0.8 for k in range(1, 31)]
    # the weights of step k have the factor 1 − decay_k times all later decays, the initial ones all decays
    factors = [torch.tensor(decays, dtype=torch.float64).prod()]
    factors += [
        (1 - decays[k]) * torch.tensor(decays[k + 1 :], dtype=torch.float64).prod() for k in range(30)
    ]
    assert float(sum(factors)) == pytest.approx(1)
    for index, average in enumerate(ema.module.parameters()):
        expected = sum(factor * weights[index] for factor, weights in zip(factors, path(30), strict=True))
        torch.testing.assert_close(average.double(), expected, rtol=1e-5, atol=1e-6)


def test_buffers_are_copied_and_never_averaged() -> None:
    network = Network()
    ema = Ema(network, decay=0.9, warmup=False)
    network.become(7)
    ema.update(network, 1)
    assert ema.state_dict()["count"].item() == 7


def test_warm_up_forgets_the_start_and_then_reaches_the_decay() -> None:
    ema = Ema(Network(), decay=0.9999, warmup=True)
    assert ema.decay_at(1) == pytest.approx(2 / 11)
    assert ema.decay_at(10**6) == 0.9999


def test_the_average_has_no_gradients_and_leaves_the_model_alone() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    before = [p.detach().clone() for p in network.parameters()]
    ema = Ema(network, decay=0.5, warmup=False)
    ema.module[0].weight.fill_(1.0)
    ema.update(network, 1)
    assert network.training
    assert not ema.module.training
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_run_resumed_from_a_checkpoint_is_the_uninterrupted_one_bit_for_bit() -> None:
    network = Network()
    whole = Ema(network, decay=0.99, warmup=True)
    resumed = Ema(network, decay=0.99, warmup=True)
    for step in range(1, 21):
        network.become(step)
        whole.update(network, step)
        resumed.update(network, step)
        if step == 9:
            stored = save(resumed.state_dict())
            resumed = Ema(Network(), decay=0.99, warmup=True)
            resumed.load_state_dict(load(stored))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_network_is_refused() -> None:
    with pytest.raises(RuntimeError, match="matrix"):
        Ema(Network(), decay=0.9, warmup=False).load_state_dict(
            {"vector": torch.zeros(4), "count": torch.tensor(0)}
        )
