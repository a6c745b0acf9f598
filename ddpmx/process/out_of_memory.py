"""Recognises that memory ran out, which every library says in its own way."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import RunError

HINT = "fewer images, smaller batches (train.batch_size, evaluate.batch_size) or a smaller network need less"
_SAID = (
    "not enough memory",
    "allocate memory",
    "out of memory",
    "bad_alloc",
    "unable to allocate",
    "failed to allocate",
)


def caused(error: BaseException) -> bool:
    """Whether the error means that the machine, or its GPU, has too little memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(said in text for said in _SAID)
    )


def message(error: BaseException) -> str:
    """What to say: how much was asked for, as far as the library tells, and what to change."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"out of memory{': ' if first else ''}{first} ({HINT})"


@contextmanager
def reported() -> Iterator[None]:
    """A context from which such an error comes as a RunError."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if caused(error):
            raise RunError(message(error)) from error
        raise
