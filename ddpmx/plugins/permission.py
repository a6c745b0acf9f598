"""What an option of the command line permits while its command runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Permission:
    """A permission that holds inside `with permission.granted():` only."""

    def __init__(self) -> None:
        self.is_granted = False

    @contextmanager
    def granted(self) -> Iterator[None]:
        """Grant it for the block; nested grants end with the outermost."""
        before, self.is_granted = self.is_granted, True
        try:
            yield
        finally:
            self.is_granted = before
