"""How large a network is, before any memory is asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..errors import SpecError
from ..plugins.guard import is_plugin
from ..process import memory
from .base import Model


def check_memory(model: Model, build: Callable[[], nn.Module], copies: int = 1) -> None:
    """Raises SpecError where so many copies of the network's weights do not fit into the memory of this machine.

    `build` builds it, here on torch's meta device, which takes no memory and no random numbers. Only for ddpmx's own networks:
    what a plugin's does on that device is not known.
    """
    if is_plugin(type(model)):
        return
    most = memory.limit()
    if _is_small(model, most / copies):
        return
    with torch.device("meta"):
        network = build()
    parameters = list(network.parameters())
    size = copies * sum(parameter.nbytes for parameter in parameters)
    if size > most:
        count = sum(parameter.numel() for parameter in parameters)
        what = "which take" if copies == 1 else "which, with what training keeps of each, take"
        raise SpecError(
            f"the network has {count:,} parameters, {what} at least {memory.amount(size)}, and here are {memory.amount(most)} of memory",
            hint="make it narrower, or of fewer levels",
        )


def _is_small(model: Model, most: float) -> bool:
    """Whether a U-Net is so narrow that its weights cannot take `most` bytes, which saves making it on the meta device.

    A block has fewer than 100 matrices of its width squared, and a level at most three times `blocks` of them.
    """
    dim, mults = getattr(model, "dim", None), getattr(model, "dim_mults", None)
    if not isinstance(dim, int) or not mults:
        return False
    width = max(64, dim * max(mults))
    blocks: int = getattr(model, "blocks", 2)
    return bool(4 * 100 * 3 * blocks * len(mults) * width**2 < most)
