"""Arguments of the public functions: checked, and turned into what the layers below take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import SpecError, nearest
from ..schedules import Schedule
from ..text import shortened

Block = str | Mapping[str, object]
"""A component as a spec has it: its name, or its block."""
T = TypeVar("T")
Word = TypeVar("Word", bound=str)
FLOATS = (torch.float32, torch.bfloat16, torch.float64)
TIMESTEPS = 1000
"""Timesteps of a schedule that is given without them."""


def timed(schedule: Block | Schedule, timesteps: int | None) -> Block | Schedule:
    """The schedule's block with its timesteps. Raises SpecError if they are given twice."""
    block = {"name": schedule} if isinstance(schedule, str) else schedule
    if isinstance(block, Mapping) and "timesteps" not in block:
        return {**block, "timesteps": TIMESTEPS if timesteps is None else timesteps}
    if timesteps is not None:
        raise SpecError("are given twice, here and in the schedule", field="timesteps", hint="leave one out")
    return block


def one_of(name: str, value: Word, valid: Sequence[str]) -> Word:
    """The value. Raises SpecError if it is not a valid one."""
    if value not in valid:
        message = f"unknown value {shortened(repr(value))}"
        raise SpecError(message, field=name, hint=nearest(str(value), valid))
    return value


def at(name: str, make: Callable[[], T]) -> T:
    """What `make` returns; its SpecError is placed at the argument `name`."""
    try:
        return make()
    except SpecError as error:
        raise error.at(name, None) from None


@contextmanager
def arguments_named() -> Iterator[None]:
    """A context in which an error about an option, such as `--classes`, names the argument instead."""
    try:
        yield
    except SpecError as error:
        raise error.each(_named) from None


def _named(finding: SpecError) -> SpecError:
    """The finding about an argument: `allow_plugins` for `--allow-plugins`."""
    field = _as_argument(finding.field) if finding.field.startswith("--") else finding.field
    hint = re.sub(r"--[a-z][a-z-]*", lambda option: _as_argument(option[0]), finding.hint)
    return SpecError(finding.message, field=field, mark=finding.mark, hint=hint, trace=finding.trace)


def _as_argument(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def images(name: str, x: object) -> Tensor:
    """The batch [n, …]. Raises TypeError or ValueError unless it is a float tensor with an image."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} should be a tensor, not {type(x).__name__}")
    if x.dtype not in FLOATS:
        actual = str(x.dtype).removeprefix("torch.")
        hint = "; images of bytes are x.float() / 127.5 - 1" if x.dtype == torch.uint8 else ""
        raise TypeError(f"{name} should be float32, bfloat16 or float64, not {actual}{hint}")
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(f"{name} should be a batch [n, …] with at least one image, not {list(x.shape)}")
    return x


def indices(t: Tensor | Sequence[int] | int, n: int, timesteps: int) -> Tensor:
    """Table indices, int64 [n], from a tensor, a list, or one for all. Raises TypeError or ValueError."""
    given = torch.as_tensor(t)
    if given.dtype not in (torch.int64, torch.int32):
        actual = str(given.dtype).removeprefix("torch.")
        raise TypeError(f"t should be whole indices, int64 [{n}], not {actual}")
    if given.shape not in ((), (n,)):
        raise ValueError(f"t should have shape [{n}], one index for each image, not {list(given.shape)}")
    wrong = given[(given < 0) | (given >= timesteps)]
    if wrong.numel():
        raise ValueError(f"t should be in 0 … {timesteps - 1}, not {int(wrong.flatten()[0])}")
    return given.long().expand(n)
