"""Recomputation: same values and gradients as the function itself, and only the inputs are kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ddpmx.models.recompute import recomputed


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(5, 40), nn.Linear(40, 5), nn.Linear(5, 5)

    def work(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).softmax(dim=-1).exp())


@pytest.mark.parametrize("autocast", [False, True])
def test_values_and_gradients_are_those_of_the_function_and_only_inputs_are_kept(autocast: bool) -> None:
    torch.manual_seed(0)
    part, x = Part(), torch.randn(64, 5, requires_grad=True)
    kept: list[int] = []
    results = []
    for function in (part.work, lambda value: recomputed(part.work, value, part)):
        part.zero_grad(set_to_none=True)
        kept.clear()
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=autocast),
            torch.autograd.graph.saved_tensors_hooks(
                lambda value: kept.append(value.numel()) or value, lambda value: value
            ),
        ):
            y = function(x)
        (x_gradient,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
        y.sum().backward(inputs=list(part.parameters()))
        results.append([y.detach(), x_gradient, *(p.grad for p in part.parameters() if p.grad is not None)])
        assert part.unused.weight.grad is None
    assert max(kept) == x.numel()
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_without_gradient_nothing_is_kept() -> None:
    part, x = Part(), torch.randn(3, 5)
    with torch.no_grad():
        y = recomputed(part.work, x, part)
    assert y.grad_fn is None
    assert torch.equal(y, part.work(x))


def test_a_second_derivative_is_an_error() -> None:
    part, x = Part(), torch.randn(3, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(recomputed(part.work, x, part).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
