"""torch's optimizers without the import of torch.compile, which costs 1.4 s and 150 MB at every start.

torch wraps the methods of its optimizers for torch.compile, and the wrappers import it when they are first
called. Here a step is never compiled, so the methods are taken without their wrappers.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch


def _step(wrapped: Callable[..., Any]) -> Callable[..., Any]:
    """An optimizer's `step` without its wrappers, which would otherwise turn off gradients."""
    step = unwrap(wrapped)

    def without_gradients(self: torch.optim.Optimizer, closure: Callable[[], float] | None = None) -> Any:
        with torch.no_grad():
            return step(self, closure)

    return without_gradients


class _Eager(torch.optim.Optimizer):
    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)


class Adam(_Eager, torch.optim.Adam):
    """`torch.optim.Adam`."""

    step = _step(torch.optim.Adam.step)


class AdamW(_Eager, torch.optim.AdamW):
    """`torch.optim.AdamW`."""

    step = _step(torch.optim.AdamW.step)


class SGD(_Eager, torch.optim.SGD):
    """`torch.optim.SGD`."""

    step = _step(torch.optim.SGD.step)
