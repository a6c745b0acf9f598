"""What the methods of components should return: each function says what is wrong with a value, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..text import shortened

CPU = torch.device("cpu")


def described(value: object) -> str:
    """A value as a message tells it: type, and of a tensor dtype, shape and place."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{dtype} {list(value.shape)} on {value.device}{', which needs a gradient' if value.requires_grad else ''}"
    if isinstance(value, tuple | list):
        inside = ", ".join(described(item) for item in value[:4])
        return f"{type(value).__name__} of {len(value)} ({inside}{', …' if len(value) > 4 else ''})"
    return "None" if value is None else f"{type(value).__name__} {shortened(repr(value), 60)}"


def tensor(
    value: object, shape: Sequence[int], dtype: torch.dtype = torch.float64, device: torch.device = CPU
) -> str:
    """A tensor of that dtype and shape there, with no gradient to be computed."""
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
    """The same in float64, without NaN; `finite`: without infinity, `least`: not below."""
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
    place = tuple(int(index) for index in bad.nonzero()[0])
    at = f"index {place[0]}" if len(place) == 1 else f"index {list(place)}"
    return f"should return {what}, not {float(value[place]):g} at {at}"


def pair(value: object, shape: Sequence[int], *, finite: bool = True) -> str:
    """Two tensors as `numbers` wants them."""
    if not isinstance(value, tuple) or len(value) != 2:
        return f"should return a tuple of two tensors, not {described(value)}"
    return next(filter(None, (numbers(part, shape, finite=finite) for part in value)), "")


def instance(value: object, cls: type, *, optional: bool = False) -> str:
    """An object of a class."""
    if isinstance(value, cls) or (optional and value is None):
        return ""
    return f"should return a {cls.__name__}{' or None' if optional else ''}, not {described(value)}"


def has(value: object, what: str, *methods: str) -> str:
    """An object with methods of these names."""
    missing = [name for name in methods if not callable(getattr(value, name, None))]
    return (
        f"should return {what} with {', '.join(f'{name}()' for name in missing)}, not {described(value)}"
        if missing
        else ""
    )
