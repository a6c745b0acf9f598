"""Trading time for memory: intermediate tensors are recomputed in the backward pass instead of being kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def recomputed(function: Callable[[Tensor], Tensor], x: Tensor, *modules: nn.Module) -> Tensor:
    """function(x), which is called again in the backward pass; it can be differentiated once.

    `function` may use parameters of these modules only, and may not draw random numbers. Chen et al. 2016,
    arXiv:1604.06174. `torch.utils.checkpoint` does the same, but imports torch's graph compiler, which takes
    seconds and 150 MB.
    """
    if torch.compiler.is_compiling():
        return function(x)
    return cast(
        Tensor, _Recomputed.apply(function, x, *(p for module in modules for p in module.parameters()))
    )


class _Recomputed(torch.autograd.Function):
    """Keeps only the input and the parameters for the backward pass."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def forward(ctx: Any, function: Callable[[Tensor], Tensor], x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(x, *parameters)
        return function(x)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = ctx.function(x)
        needed = ctx.needs_input_grad[2:]
        inputs = [x, *(p for p, wanted in zip(parameters, needed, strict=True) if wanted)]
        grad_x, *others = torch.autograd.grad(y, inputs, gradient, allow_unused=True)
        rest = iter(others)
        return None, grad_x, *(next(rest) if wanted else None for wanted in needed)
