from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ddpmx import EMAS
from ddpmx.emas import Ema
from ddpmx.errors import PluginError
from ddpmx.training.ema import Averages


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


def constant(decay: float, warmup: bool) -> Ema:
    return EMAS.build("constant", decay=decay, warmup=warmup)


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
    ema = Averages(network, constant(0.8, warmup))
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
    ema = Averages(network, constant(0.9, False))
    network.become(7)
    ema.update(network, 1)
    assert ema.module.state_dict()["count"].item() == 7


def test_warm_up_forgets_the_start_and_then_reaches_the_decay() -> None:
    ema = constant(0.9999, True)
    assert ema.decays(1) == (pytest.approx(2 / 11),)
    assert ema.decays(10**6) == (0.9999,)


def test_the_average_has_no_gradients_and_leaves_the_model_alone() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    before = [p.detach().clone() for p in network.parameters()]
    ema = Averages(network, constant(0.5, False))
    ema.module[0].weight.fill_(1.0)
    ema.update(network, 1)
    assert network.training
    assert not ema.module.training
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_run_resumed_from_a_checkpoint_is_the_uninterrupted_one_bit_for_bit() -> None:
    network = Network()
    whole = Averages(network, constant(0.99, True))
    resumed = Averages(network, constant(0.99, True))
    for step in range(1, 21):
        network.become(step)
        whole.update(network, step)
        resumed.update(network, step)
        if step == 9:
            stored = save(resumed.module.state_dict())
            resumed = Averages(Network(), constant(0.99, True))
            resumed.module.load_state_dict(load(stored))
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name


def test_constant_is_bit_for_bit_torchs_own_interpolation() -> None:
    """As it was when there was no other average: the stored averages of old runs go on unchanged."""
    network = Network()
    averages = Averages(network, constant(0.97, True))
    expected = [parameter.detach().clone() for parameter in network.parameters()]
    for step in range(1, 50):
        network.become(step)
        averages.update(network, step)
        weights = [parameter.detach() for parameter in network.parameters()]
        torch._foreach_lerp_(expected, weights, 1 - min(0.97, (1 + step) / (10 + step)))
    for average, same in zip(averages.module.parameters(), expected, strict=True):
        assert torch.equal(average, same)


def test_several_averages_each_follow_their_own_decays() -> None:
    class Two(Ema):
        def decays(self, step: int) -> tuple[float, ...]:
            return 0.5, 1 - 1 / step

    network = Network()
    averages = Averages(network, Two())
    assert list(averages.named()) == ["ema", "ema-1"]
    single = Averages(network, constant(0.5, False))
    for step in range(1, 9):
        network.become(step)
        averages.update(network, step)
        single.update(network, step)
    mean = torch.stack([matrix for matrix, _ in path(8)[1:]]).mean(0)
    assert torch.equal(averages.module.matrix, single.module.matrix)
    torch.testing.assert_close(averages.modules[1].matrix.double(), mean, rtol=1e-5, atol=1e-6)
    assert averages.modules[1].count.item() == 8


def test_a_number_of_averages_that_changes_is_an_error() -> None:
    class Growing(Ema):
        def decays(self, step: int) -> tuple[float, ...]:
            return (0.5,) * step

    network = Network()
    averages = Averages(network, Growing())
    averages.update(network, 1)
    with pytest.raises(PluginError, match="2 decays at step 2, but 1 at step 1"):
        averages.update(network, 2)
