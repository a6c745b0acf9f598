"""Recognising errors that mean out of memory, which every library words differently."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import RunError

HINT = "use fewer images, smaller batches (train.batch_size, evaluate.batch_size) or a smaller network"
_PHRASES = (
    "not enough memory",
    "allocate memory",
    "out of memory",
    "bad_alloc",
    "unable to allocate",
    "failed to allocate",
)


def caused(error: BaseException) -> bool:
    """Whether the error was caused by too little memory, of the machine or of its GPU."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)
    )


def message(error: BaseException) -> str:
    """The message for such an error: the first line of the library's own message, and a hint."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"out of memory{': ' if first else ''}{first} ({HINT})"


@contextmanager
def reported() -> Iterator[None]:
    """A context that raises such an error as a RunError."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if caused(error):
            raise RunError(message(error)) from error
        raise
