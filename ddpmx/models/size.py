"""A network's size, known before any memory is allocated."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..errors import SpecError
from ..plugins.guard import is_plugin
from ..process import memory
from .base import Model


def check_memory(model: Model, build: Callable[[], nn.Module], copies: int = 1) -> None:
    """Raises SpecError if `copies` copies of the network's weights do not fit into this machine's memory.

    `build` is called on torch's meta device, which uses no memory and draws no random numbers. Plugins'
    networks are not checked, since they may not work on that device.
    """
    if is_plugin(type(model)):
        return
    limit = memory.limit()
    if _is_small(model, limit / copies):
        return
    with torch.device("meta"):
        network = build()
    parameters = list(network.parameters())
    size = copies * sum(parameter.nbytes for parameter in parameters)
    if size > limit:
        count = sum(parameter.numel() for parameter in parameters)
        what = "which need" if copies == 1 else "which need, with the tensors that training keeps for each,"
        raise SpecError(
            f"the network has {count:,} parameters, {what} at least {memory.amount(size)};"
            f" this machine has {memory.amount(limit)} of memory",
            hint="make the network narrower, or use fewer levels",
        )


def _is_small(model: Model, limit: float) -> bool:
    """Whether a U-Net is so narrow that its weights certainly need less than `limit` bytes.

    Then it need not be built on the meta device. Bound: a block has fewer than 100·width² weights of 4 bytes,
    and a level has at most 3·`blocks` blocks.
    """
    dim, mults = getattr(model, "dim", None), getattr(model, "dim_mults", None)
    if not isinstance(dim, int) or not mults:
        return False
    width = max(64, dim * max(mults))
    blocks: int = getattr(model, "blocks", 2)
    return bool(4 * 100 * 3 * blocks * len(mults) * width**2 < limit)
