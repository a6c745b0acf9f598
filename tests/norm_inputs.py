"""Inputs of norms, and a function's result with its gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def norm_inputs(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, gamma, beta, and a gradient of the result."""
    generator = torch.Generator().manual_seed(seed)
    x, g = (
        torch.randn(shape, generator=generator).contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    gamma, beta = (torch.randn(shape[1], generator=generator) for _ in range(2))
    return 2 * x + 0.3, gamma, beta, g


def with_gradients(function: Callable[..., Tensor], g: Tensor, *inputs: Tensor) -> list[Tensor]:
    """The result, then the gradients of the inputs."""
    inputs = tuple(value.detach().clone().requires_grad_() for value in inputs)
    y = function(*inputs)
    return [y.detach(), *torch.autograd.grad(y, inputs, g)]
