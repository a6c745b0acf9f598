"""Each optimizer against its update rule, written out in float64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ddpmx import OPTIMIZERS, SpecError

LR, DECAY, STEPS = 0.01, 0.1, 5


def trained(name: str, **parameters: object) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Weights before and after training, and the gradients used."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(6))
    start = weight.detach().double()
    optimizer = OPTIMIZERS.build(name, **parameters).build([weight], LR, DECAY)
    gradients = [torch.randn(6) for _ in range(STEPS)]
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return start, weight.detach().double(), [gradient.double() for gradient in gradients]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_is_its_rule(name: str) -> None:
    beta_1, beta_2, eps = 0.8, 0.95, 1e-3
    w, end, gradients = trained(name, betas=(beta_1, beta_2), eps=eps)
    mean, square = torch.zeros_like(w), torch.zeros_like(w)
    for step, gradient in enumerate(gradients, start=1):
        if name == "adam":
            gradient = gradient + DECAY * w
        else:
            w = w * (1 - LR * DECAY)
        mean = beta_1 * mean + (1 - beta_1) * gradient
        square = beta_2 * square + (1 - beta_2) * gradient**2
        w = w - LR * (mean / (1 - beta_1**step)) / ((square / (1 - beta_2**step)).sqrt() + eps)
    torch.testing.assert_close(end, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_its_rule(nesterov: bool) -> None:
    momentum = 0.7
    w, end, gradients = trained("sgd", momentum=momentum, nesterov=nesterov)
    velocity = torch.zeros_like(w)
    for gradient in gradients:
        gradient = gradient + DECAY * w
        velocity = momentum * velocity + gradient
        w = w - LR * (gradient + momentum * velocity if nesterov else velocity)
    torch.testing.assert_close(end, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "parameters", "field"),
    [
        ("adam", {"betas": (0.9, 1.0)}, "betas.1"),
        ("adamw", {"betas": (-0.1, 0.9)}, "betas.0"),
        ("adam", {"betas": (0.9,)}, "betas"),
        ("adam", {"eps": 0.0}, "eps"),
        ("sgd", {"momentum": 1.0}, "momentum"),
        ("sgd", {"momentum": 0.0, "nesterov": True}, ""),
        ("sgd", {"nesterov": 1}, "nesterov"),
        ("adam", {"momentum": 0.9}, "momentum"),
    ],
)
def test_parameters_out_of_range_are_refused_at_their_field(
    name: str, parameters: dict[str, object], field: str
) -> None:
    with pytest.raises(SpecError) as error:
        OPTIMIZERS.build(name, **parameters)
    assert error.value.field.startswith(field)


def test_yaml_lists_become_betas_and_come_back() -> None:
    adam = OPTIMIZERS.build("adam", betas=[0.5, 0.9])
    assert adam.spec() == {"name": "adam", "betas": [0.5, 0.9], "eps": 1e-8}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("adam", lambda parameters: torch.optim.Adam(parameters, LR, weight_decay=DECAY, fused=True)),
        ("adamw", lambda parameters: torch.optim.AdamW(parameters, LR, weight_decay=DECAY, fused=True)),
        ("sgd", lambda parameters: torch.optim.SGD(parameters, LR, 0.9, weight_decay=DECAY)),
    ],
)
def test_steps_are_torchs_bit_for_bit(
    name: str, plain: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
) -> None:
    """Also after the state has moved to another optimizer, as a resumed run's does."""
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 20)) for _ in range(2))
    build = OPTIMIZERS.build(name).build
    optimizer, reference = build([ours], LR, DECAY), plain([theirs])
    for step in range(6):
        if step == 3:
            state, optimizer = optimizer.state_dict(), build([ours], LR, DECAY)
            optimizer.load_state_dict(state)
        gradient = torch.randn(20, generator=torch.Generator().manual_seed(step))
        for weight, each in ((ours, optimizer), (theirs, reference)):
            each.zero_grad()
            assert weight.grad is None
            weight.grad = gradient.clone()
            each.step()
        assert torch.equal(ours, theirs)
    assert ours.requires_grad


def test_no_optimizer_imports_the_compiler() -> None:
    """The import takes longer than all others of a run's start."""
    code = """
import sys, torch
from ddpmx import OPTIMIZERS
for name in OPTIMIZERS.names():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = OPTIMIZERS.build(name).build([weight], 0.1, 0.1)
    optimizer.zero_grad()
    weight.grad = torch.ones(3)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
