"""Text files that a reader sees whole: the old one, or the new one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..outputs import whole


def write_atomically(path: Path, text: str) -> None:
    """Write beside, flush to the disk, rename: a reader sees the old file or the new one, whole. UTF-8. Raises OSError."""
    with atomically(path) as file:
        file.write(text)


@contextmanager
def atomically(path: Path) -> Iterator[IO[str]]:
    """The same for text that is made piece by piece."""
    with whole(path) as place, place.open("w", encoding="utf-8", errors="backslashreplace") as file:
        yield file
