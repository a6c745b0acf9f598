"""A network that a plugin built, looked at each time that it is run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from . import faults
from .guard import Method

Problem = Callable[[tuple[Tensor, ...], object], str]
"""(inputs, output) -> what the output should have been instead; empty: fine."""


def watch_module(module: nn.Module, method: Method, problem: Problem) -> nn.Module:
    """The module with hooks that raise PluginError for an output that does not fit, and put back what its forward changes.

    Copies have the same hooks; a compiled network has none. What forward raises is named where it ends the command.
    """
    forward = Method(
        method.file,
        f"{type(module).__qualname__.replace('<locals>.', '')}.forward(), which {method.text} built,",
    )
    under_way: list[AbstractContextManager[None]] = []

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not torch.compiler.is_compiling():
            under_way[:] = [faults.watched(forward.who)]
            under_way[0].__enter__()

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if torch.compiler.is_compiling():
            return
        gradient = torch.is_grad_enabled()
        if under_way:
            under_way.pop().__exit__(None, None, None)
        wrong = problem(inputs, output)
        if wrong:
            forward.refuse(wrong)
        if (
            torch.is_grad_enabled()
            and module.training
            and isinstance(output, Tensor)
            and not output.requires_grad
        ):
            _refuse_without_gradient(module, forward, gradient)

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after)
    return module


def _refuse_without_gradient(module: nn.Module, forward: Method, gradient: bool) -> None:
    """Unless it has nothing to learn."""
    if any(parameter.requires_grad for parameter in module.parameters()):
        why = "" if gradient else ": it turns gradients off"
        forward.refuse(f"should return what its weights can learn from, not a tensor without a gradient{why}")
