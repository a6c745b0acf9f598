"""Permissions that command-line options grant while their command runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Permission:
    """A permission that is granted only inside `with permission.granted():`."""

    def __init__(self) -> None:
        self.is_granted = False

    @contextmanager
    def granted(self) -> Iterator[None]:
        """Grant the permission for the block; when blocks are nested, until the outermost one ends."""
        before, self.is_granted = self.is_granted, True
        try:
            yield
        finally:
            self.is_granted = before
