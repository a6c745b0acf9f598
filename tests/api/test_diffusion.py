"""`ddpmx.Diffusion` has the loss and the samples of the rest of ddpmx, for any network and tensors."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ddpmx
from ddpmx.data import Data
from ddpmx.data.base import Images
from ddpmx.errors import SpecError
from ddpmx.training.experiment import build
from ddpmx.training.objective import draw_step, step_loss

SPEC: dict[str, object] = {
    "name": "tiny",
    "dataset": {"name": "no_images", "size": 8},
    "model": {"name": "convnext_unet", "dim": 8, "dim_mults": [1, 2]},
    "schedule": {"name": "cosine", "timesteps": 20},
}


class Wave(nn.Module):
    """An output of x's shape that depends on x, t and one weight; dropout shows the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.dropout = nn.Parameter(torch.tensor(0.7)), nn.Dropout(0.5)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        assert t.dtype == torch.float32
        phase = (t / 7).view(-1, *[1] * (x.ndim - 1)).to(x.dtype)
        output: Tensor = self.dropout((self.weight.to(x.dtype) * x + phase).sin())
        return output


@dataclass
class Wrapped:
    """An output as diffusers' networks have it."""

    sample: Tensor


def images(*shape: int) -> Tensor:
    return torch.linspace(-3, 3, torch.Size(shape).numel()).sin().view(shape)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prediction": "edm", "model.time": "log_snr", "loss": {"norm": "huber", "delta": 0.3}},
        {
            "time": {"name": "logit_normal", "unbiased": True},
            "loss.weighting": "min_snr",
            "seed": 2**63 - 1,
        },
    ],
    ids=["epsilon", "edm", "times"],
)
def test_the_loss_is_that_of_a_spec_bit_for_bit(changes: dict[str, object]) -> None:
    pixels = Images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    made = Data("made", train=pixels, validation=pixels)
    experiment = build(ddpmx.load_spec(SPEC, changes), torch.device("cpu"), made)
    network = copy.deepcopy(experiment.network)
    ids, step, x0 = torch.tensor([5, 0, 77, 300, 301]), 11, images(5, 1, 8, 8)
    draws = draw_step(experiment, ids, step)
    objective, _ = step_loss(experiment, experiment.network, draws.batch(x0))
    expected = (objective * (experiment.coefficients.importance[draws.t] / len(ids))).sum()
    expected.backward()

    loss = ddpmx.Diffusion.from_spec(experiment.spec).loss(network, x0, step=step, sample_ids=ids)
    loss.backward()
    assert torch.equal(loss, expected)
    pairs = zip(network.parameters(), experiment.network.parameters(), strict=True)
    assert all(own.grad is not None and torch.equal(own.grad, other.grad) for own, other in pairs)


@pytest.mark.parametrize("prediction", ["v", "edm"])
def test_sample_is_ddpmx_sample_in_evaluation_mode(prediction: str) -> None:
    d = ddpmx.Diffusion(
        "cosine", timesteps=50, prediction=prediction, sampler={"name": "dpmpp_2m", "steps": 5}
    )
    net, table = Wave(), d.schedule.table()
    net.train()
    sampled = d.sample(net, (2, 3, 4, 4), seed=3)
    assert net.training
    assert net.dropout.training
    net.eval()

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        scale = d.prediction.input_scale(*table.at(t.double()))
        return net(x if scale is None else x * scale.float().view(-1, 1, 1, 1), t)

    plan = ddpmx.SAMPLERS.build("dpmpp_2m", steps=5).plan(table, d.prediction)
    assert torch.equal(sampled, ddpmx.sample(denoise, plan, (2, 3, 4, 4), seed=3))
    ddim = d.sample(net, (2, 3, 4, 4), seed=3, sampler={"name": "ddim", "steps": 5})
    plan = ddpmx.SAMPLERS.build("ddim", steps=5).plan(table, d.prediction)
    assert torch.equal(ddim, ddpmx.sample(denoise, plan, (2, 3, 4, 4), seed=3))
    assert not torch.equal(ddim, sampled)


@pytest.mark.parametrize("shape", [(3, 2), (2, 5, 6), (2, 1, 4, 4), (2, 1, 2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_images_of_any_shape(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    d, net, x0 = ddpmx.Diffusion(timesteps=10, sampler={"name": "ddim", "steps": 2}), Wave(), images(*shape)
    loss = d.loss(net, x0.to(dtype))
    assert (loss.dtype, loss.shape) == (torch.float32, ())
    loss.backward()
    assert net.weight.grad is not None
    assert bool(net.weight.grad.isfinite())
    assert d.sample(net, shape, dtype=dtype).dtype == dtype


def test_add_noise_mixes_the_images_and_the_noise() -> None:
    d, x0, noise = ddpmx.Diffusion(timesteps=10), images(3, 2, 4).double(), images(3, 4, 2).mT.double()
    t = torch.tensor([9, 0, 4])
    signal, sigma = (column[t].view(3, 1, 1) for column in (d.table.signal, d.table.sigma))
    assert torch.equal(d.add_noise(x0, t, noise), signal * x0 + sigma * noise)
    assert torch.equal(d.add_noise(x0, [9, 0, 4], noise), d.add_noise(x0, t, noise))
    assert torch.equal(d.add_noise(x0, 4, noise), d.add_noise(x0, torch.tensor([4, 4, 4]), noise))
    drawn = ddpmx.ops.normal(torch.arange(3), ddpmx.ops.stream(ddpmx.ops.Purpose.NOISE, 6), 5, (2, 4))
    assert torch.equal(d.add_noise(x0, t, seed=5, step=6), d.add_noise(x0, t, drawn))


def test_each_call_takes_the_next_step() -> None:
    net, x0 = Wave().eval(), images(4, 1, 4, 4)
    d, other = (ddpmx.Diffusion(timesteps=10, seed=3) for _ in range(2))
    losses = [d.loss(net, x0).detach() for _ in range(3)]
    assert len({float(loss) for loss in losses}) == 3
    assert d.step == 3
    assert [other.loss(net, x0, seed=3, step=k) for k in range(3)] == losses
    assert other.step == 0
    other.step = 2
    assert other.loss(net, x0) == losses[2]
    assert ddpmx.Diffusion(timesteps=10, seed=4).loss(net, x0) != losses[0]
    d.step = 2**24
    assert d.loss(net, x0) == losses[0]


def test_given_timesteps_and_noise_are_used() -> None:
    d, net, x0, noise = ddpmx.Diffusion(timesteps=10), Wave().eval(), images(4, 3), images(4, 3).flip(1)
    x_t = d.add_noise(x0, 7, noise)
    expected = (net(x_t, torch.full((4,), 7.0)) - noise).square().mean()
    assert torch.allclose(d.loss(net, x0, t=7, noise=noise), expected)
    assert torch.equal(d.loss(net, x0, t=7, noise=noise), d.loss(net, x0, t=[7] * 4, noise=noise, step=9))


def test_networks_may_return_what_those_of_diffusers_do() -> None:
    d, net, x0 = (
        ddpmx.Diffusion(timesteps=10, sampler={"name": "ddim", "steps": 2}),
        Wave().eval(),
        images(2, 3),
    )
    wrapped, listed = (lambda x, t: Wrapped(net(x, t))), (lambda x, t: (net(x, t), "more"))
    assert d.loss(wrapped, x0, step=0) == d.loss(listed, x0, step=0) == d.loss(net, x0, step=0)
    assert torch.equal(d.sample(wrapped, (2, 3)), d.sample(net, (2, 3)))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"schedule": "cosin"}, "schedule.name: unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"schedule": {"name": "cosine", "timesteps": 5}, "timesteps": 5}, "timesteps: are given twice"),
        ({"timesteps": 0}, "schedule.timesteps: "),
        ({"prediction": 3}, "prediction: should be the name of a prediction or a block"),
        ({"sampler": "dpm2m"}, "sampler.name: unknown sampler 'dpm2m'"),
        ({"sampler": {"name": "ddim", "steps": 11}, "timesteps": 10}, "sampler.steps: "),
        ({"sampler": {"name": "ddim", "eta": "a"}}, "sampler.eta: "),
        ({"weighting": "learned"}, "weighting: 'learned' learns from the losses of a whole training"),
        ({"time": "loss_aware"}, "time: 'loss_aware' learns"),
        ({"norm": "l3"}, "norm: unknown value 'l3' .valid: huber"),
        ({"time_input": "indx"}, "time_input: unknown value 'indx' .did you mean 'index'"),
    ],
)
def test_a_wrong_part_is_named(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError, match=f"^{field}"):
        ddpmx.Diffusion(**arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d, net: d.loss(net, [1.0]), TypeError, "x0 should be a tensor, not list"),
        (lambda d, net: d.loss(net, torch.zeros(2, 3, dtype=torch.uint8)), TypeError, "x0 should be float32"),
        (lambda d, net: d.loss(net, torch.zeros(3)), ValueError, r"x0 should be a batch \[n, …\]"),
        (lambda d, net: d.loss(net, images(2, 3), t=10), ValueError, "t should be in 0 … 9, not 10"),
        (lambda d, net: d.loss(net, images(2, 3), t=[1]), ValueError, r"t should have shape \[2\]"),
        (lambda d, net: d.add_noise(images(2, 3), 1.0), TypeError, "t should be whole indices"),
        (lambda d, net: d.add_noise(images(2, 3), 1, images(3, 2)), ValueError, "noise should have shape"),
        (
            lambda d, net: d.loss(net, images(2, 3), sample_ids=[1]),
            ValueError,
            r"sample_ids should be int64 \[2\]",
        ),
        (lambda d, net: d.loss(net, images(2, 3), step=2**24), ValueError, "step should be"),
        (lambda d, net: d.loss(lambda x, t: x[:1], images(2, 3)), ValueError, r"net should return \[2, 3\]"),
        (lambda d, net: d.sample(lambda x, t: x[:, :1], (2, 3)), ValueError, r"net should return \[2, 3\]"),
        (lambda d, net: d.loss(lambda x, t: None, images(2, 3)), TypeError, "net should return a tensor"),
        (
            lambda d, net: d.sample(net, (2, 3), sampler="dim"),
            SpecError,
            "sampler.name: unknown sampler 'dim'",
        ),
    ],
)
def test_a_wrong_argument_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        call(ddpmx.Diffusion(timesteps=10), Wave())


def test_a_spec_whose_training_has_another_loss_is_refused() -> None:
    spec = ddpmx.load_spec(SPEC, {"model.self_condition": True})
    with pytest.raises(SpecError, match="^model.self_condition: "):
        ddpmx.Diffusion.from_spec(spec)
