"""Atomic writes of text files: a reader sees either the old file or the new one, never a part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..outputs import whole


def write_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 text file: into a temporary file, flushed to disk, then renamed. Raises OSError."""
    with atomically(path) as file:
        file.write(text)


@contextmanager
def atomically(path: Path) -> Iterator[IO[str]]:
    """Like `write_atomically`, for text that is written piece by piece to the file this yields."""
    with whole(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        yield file
