"""Checking a plugin's network each time that it runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from . import faults
from .guard import Method

Problem = Callable[[tuple[Tensor, ...], object], str]
"""(inputs, output) -> a message that says what the output should have been; empty if it is right."""


def watch_module(module: nn.Module, method: Method, problem: Problem) -> nn.Module:
    """Add hooks to a module that raise PluginError for a wrong output and restore changed global state.

    Copies of the module have the same hooks; the hooks do nothing in a compiled network. Errors that
    `forward` raises are attributed to the plugin where they end the command.
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
        had_gradients = torch.is_grad_enabled()
        if under_way:
            under_way.pop().__exit__(None, None, None)
        message = problem(inputs, output)
        if message:
            forward.refuse(message)
        if (
            torch.is_grad_enabled()
            and module.training
            and isinstance(output, Tensor)
            and not output.requires_grad
        ):
            _refuse_without_gradient(module, forward, had_gradients)

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after)
    return module


def _refuse_without_gradient(module: nn.Module, forward: Method, had_gradients: bool) -> None:
    """Raise PluginError for an output without a gradient, unless the module has no parameters to train.

    `had_gradients`: whether gradients were still enabled when `forward` returned.
    """
    if any(parameter.requires_grad for parameter in module.parameters()):
        why = "" if had_gradients else ": it turns gradients off"
        forward.refuse(
            f"should return a tensor that depends on its weights, not a tensor without a gradient{why}"
        )
