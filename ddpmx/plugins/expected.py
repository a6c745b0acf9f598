"""Checks of what the methods of components return.

Each function returns a message such as "should return 1, not 2", or an empty string if the value is right.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..text import shortened

CPU = torch.device("cpu")


def described(value: object) -> str:
    """A value in the words of a message: a tensor's dtype, shape and device; otherwise type and value."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        grad = " that requires a gradient" if value.requires_grad else ""
        return f"{dtype} {list(value.shape)} on {value.device}{grad}"
    if isinstance(value, tuple | list):
        inside = ", ".join(described(item) for item in value[:4])
        return f"{type(value).__name__} of {len(value)} ({inside}{', …' if len(value) > 4 else ''})"
    return "None" if value is None else f"{type(value).__name__} {shortened(repr(value), 60)}"


def tensor(
    value: object, shape: Sequence[int], dtype: torch.dtype = torch.float64, device: torch.device = CPU
) -> str:
    """Check for a tensor with that dtype, shape and device that requires no gradient."""
    if isinstance(value, Tensor):
        fits = (
            value.dtype == dtype and tuple(value.shape) == tuple(shape) and value.device.type == device.type
        )
        if fits and not value.requires_grad:
            return ""
    return (
        f"should return {str(dtype).removeprefix('torch.')} {list(shape)} on {device}, not {described(value)}"
    )


def numbers(value: object, shape: Sequence[int], *, finite: bool = False, least: float | None = None) -> str:
    """Check for a float64 tensor on the CPU without NaN; with `finite`, without infinity, too.

    No element may be below `least`.
    """
    problem = tensor(value, shape)
    if problem or not isinstance(value, Tensor):
        return problem
    bad = ~value.isfinite() if finite else value.isnan()
    what = "finite numbers" if finite else "numbers"
    if least is not None:
        bad |= value < least
        what = f"{what} of at least {least:g}"
    if not bool(bad.any()):
        return ""
    index = tuple(int(i) for i in bad.nonzero()[0])
    where = f"index {index[0]}" if len(index) == 1 else f"index {list(index)}"
    return f"should return {what}, not {float(value[index]):g} at {where}"


def pair(value: object, shape: Sequence[int], *, finite: bool = True) -> str:
    """Check for a tuple of two tensors that pass `numbers`."""
    if not isinstance(value, tuple) or len(value) != 2:
        return f"should return a tuple of two tensors, not {described(value)}"
    return next(filter(None, (numbers(part, shape, finite=finite) for part in value)), "")


def instance(value: object, cls: type, *, optional: bool = False) -> str:
    """Check for an instance of a class; with `optional`, or None."""
    if isinstance(value, cls) or (optional and value is None):
        return ""
    article = "an" if cls.__name__[0] in "AEIOU" else "a"
    return f"should return {article} {cls.__name__}{' or None' if optional else ''}, not {described(value)}"


def has(value: object, what: str, *methods: str) -> str:
    """Check for an object with methods of these names; `what` is how messages call it."""
    missing = [name for name in methods if not callable(getattr(value, name, None))]
    return (
        f"should return {what} with {', '.join(f'{name}()' for name in missing)}, not {described(value)}"
        if missing
        else ""
    )
