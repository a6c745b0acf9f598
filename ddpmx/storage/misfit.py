"""Whether stored tensors are those of a network, and in what they differ from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..text import shortened

SHOWN = 3
"""Tensors of each kind that a message names."""


def misfit(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Why the tensors `given` cannot replace a network's `own`: the first few of each kind, with shapes; empty where they can."""
    reshaped = [
        f"{shortened(name)} is {list(tensor.shape)} and should be {list(own[name].shape)}"
        for name, tensor in given.items()
        if name in own and tensor.shape != own[name].shape
    ]
    missing = [f"{name} {list(tensor.shape)}" for name, tensor in own.items() if name not in given]
    unknown = [f"{shortened(name)} {list(tensor.shape)}" for name, tensor in given.items() if name not in own]
    kinds = {"of another shape": reshaped, "missing": missing, "not in the network": unknown}
    return "; ".join(f"{len(found)} {kind}: {_first(found)}" for kind, found in kinds.items() if found)


def _first(found: Sequence[str]) -> str:
    return ", ".join(found[:SHOWN]) + (", …" if len(found) > SHOWN else "")
