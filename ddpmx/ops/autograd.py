"""The type of the context of an autograd function."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Context(Protocol):
    """The part of `torch.autograd.function.FunctionCtx` that the ops use."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...
