"""How stored tensors differ from those of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..text import shortened

MOST_NAMED = 3
"""Most tensors of each kind that a message names."""


def misfit(stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Why the stored tensors cannot replace a network's, with the first few names and shapes.

    Empty if they can.
    """
    reshaped = [
        f"{shortened(name)} is {list(tensor.shape)} and should be {list(expected[name].shape)}"
        for name, tensor in stored.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    missing = [f"{name} {list(tensor.shape)}" for name, tensor in expected.items() if name not in stored]
    unknown = [
        f"{shortened(name)} {list(tensor.shape)}" for name, tensor in stored.items() if name not in expected
    ]
    kinds = {"of another shape": reshaped, "missing": missing, "not in the network": unknown}
    return "; ".join(f"{len(texts)} {kind}: {_first(texts)}" for kind, texts in kinds.items() if texts)


def _first(texts: Sequence[str]) -> str:
    return ", ".join(texts[:MOST_NAMED]) + (", …" if len(texts) > MOST_NAMED else "")
